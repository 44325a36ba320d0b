// A worker with one answer; workerd keeps its isolate between requests.
export default {
  fetch() {
    return new Response("Hello from Shoal\n", { headers: { "content-type": "text/plain; charset=utf-8" } });
  },
};
