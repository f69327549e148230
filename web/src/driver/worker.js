// Starts the engine in a worker. The page's first and only message brings all that is needed: the address of the JavaScript
// that belongs to the WebAssembly module, the module as the browser has compiled it for the page, and a port to the page.
// (Not a line of it is for the page's own thread, and none may be syntax that browsers without module workers do not know.)
addEventListener(
  "message",
  async ({ data: { glue, module, port } }) => {
    try {
      const bindings = await import(glue);
      await bindings.default({ module_or_path: module });
      bindings.drive(port);
    } catch (error) {
      // Thrown outside of the promise, so that the page hears of it.
      setTimeout(() => {
        throw error;
      });
    }
  },
  { once: true },
);
