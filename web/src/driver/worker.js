// Starts the engine in the page's worker. The page's first and only message brings all that it takes: the address of the
// JavaScript that belongs to the WebAssembly module, the module as the browser has compiled it already, and a port to the
// page.
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
