// Called in the page's own world, on a captcha's element: tells the page that there is an answer, as the widget would.
function (answer, siteKey) {
  const follow = (path) => path.split(".").reduce((place, name) => place?.[name], globalThis);
  const call = (callback) => {
    const target = typeof callback === "string" ? follow(callback) : callback;
    if (typeof target !== "function") return false;
    target(answer);
    return true;
  };
  if (this.dataset.callback) return call(this.dataset.callback);
  // A reCAPTCHA that a script has put up keeps its callback among its clients, a few levels deep.
  const queue = Object.values(globalThis.___grecaptcha_cfg?.clients ?? {}).map((client) => [client, 0]);
  for (let looked = 0; queue.length && looked < 2000; looked++) {
    const [place, depth] = queue.shift();
    if (!place || typeof place !== "object" || place instanceof Node) continue;
    if (place.sitekey === siteKey && place.callback) return call(place.callback);
    if (depth < 4) for (const inner of Object.values(place)) queue.push([inner, depth + 1]);
  }
  return false;
}
