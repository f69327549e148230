// Starts the engine in the page's worker. The page's first and only message contains the URL of the JavaScript that belongs
// to the WebAssembly module, the compiled module, and a port to the page.
addEventListener(
  "message",
  async ({ data: { glue, module, port } }) => {
    try {
      const bindings = await import(glue);
      await bindings.default({ module_or_path: module });
      bindings.drive(port);
    } catch (error) {
      // Thrown outside of the promise, so that the page's "error" listener is called.
      setTimeout(() => {
        throw error;
      });
    }
  },
  { once: true },
);
