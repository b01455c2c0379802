// A page opened from a disk may not start a worker, so the search works in a hidden frame instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.srcdoc =
        "<script>receive = postMessage; postMessage = (data) => parent.postMessage(data, '*')</" +
        "script>" +
        `<script src="${new URL(url, location.href)}"></` + "script>";
      this.frame = new Promise((ready) => {
        frame.addEventListener("load", () => ready(frame.contentWindow));
      });
      window.addEventListener("message", (event) => {
        if (event.source !== frame.contentWindow) return;
        this.dispatchEvent(new MessageEvent("message", { data: event.data }));
      });
      document.body.append(frame);
    }

    postMessage(data) {
      this.frame.then((target) => target.receive(data, "*"));
    }
  };
}
