// Answers GET with one line and sends the body of a POST back, in the way of the web: a fetch event.
addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const headers = { "content-type": "text/plain" };
  if (request.method === "POST") {
    return new Response(request.body, { headers });
  }
  return new Response("Hello from JavaScript\n", { headers });
}
