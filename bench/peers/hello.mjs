// node's own HTTP server with one answer. The argument is the port.
import { createServer } from "node:http";

const server = createServer((_request, response) => {
  response.setHeader("content-type", "text/plain; charset=utf-8");
  response.end("Hello from Shoal\n");
});
server.keepAliveTimeout = 600_000;
server.listen(Number(process.argv[2]), "127.0.0.1", () => console.error("listening"));
