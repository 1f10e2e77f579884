// Runs in a world of its own in every frame: pages see neither it nor what it calls. Reports captchas that wait for an
// answer, once each, and puts answers in.
(() => {
  if (globalThis.fleetCaptchas) return;
  const PAUSE = 300;
  const widgets = [
    {
      kind: "recaptcha-v2",
      box: ".g-recaptcha",
      frame: /^https:\/\/(www\.)?(google\.com|recaptcha\.net)\/recaptcha\/(api2|enterprise)\/anchor\?/,
      keyIn: /[?&]k=([\w-]+)/,
      field: "g-recaptcha-response",
    },
    {
      kind: "hcaptcha",
      box: ".h-captcha",
      frame: /^https:\/\/([\w-]+\.)*hcaptcha\.com\/captcha\//,
      keyIn: /[?&#]sitekey=([\w-]+)/,
      field: "h-captcha-response",
    },
    { kind: "turnstile", box: ".cf-turnstile", field: "cf-turnstile-response" },
  ];
  const waiting = new Map();
  // Elements, with what they showed, that were reported already.
  const reported = new WeakMap();
  let next = 1;

  const report = (box, field, facts) => {
    const shown = `${facts.kind} ${facts.siteKey ?? facts.source}`;
    if (reported.get(box) === shown) return;
    reported.set(box, shown);
    const number = next++;
    waiting.set(number, { box, field });
    const { source, ...rest } = facts;
    const place = location.origin === "null" ? new URL(document.baseURI) : location;
    fleetCaptchaFound(JSON.stringify({ number, origin: place.origin, path: place.pathname, ...rest }));
  };

  const isInvisible = (element, url) => element.dataset.size === "invisible" || /[?&]size=invisible/.test(url);

  const lookForWidgets = ({ kind, box, frame, keyIn, field }) => {
    const found = [...document.querySelectorAll(`${box}[data-sitekey]`)].map((element) => [element, element.dataset.sitekey]);
    if (frame) {
      for (const element of document.querySelectorAll("iframe[src]")) {
        const key = frame.test(element.src) && !isInvisible(element, element.src) && keyIn.exec(element.src);
        if (!key || element.closest(`${box}[data-sitekey]`)) continue;
        // The widget's own element: the nearest around both the frame and the field.
        let around = element.parentElement;
        while (around && !around.querySelector(`[name="${field}"]`)) around = around.parentElement;
        if (around && around !== document.body) found.push([around, key[1]]);
      }
    }
    for (const [element, siteKey] of found) {
      const input = element.querySelector(`[name="${field}"]`);
      if (input && !input.value && !isInvisible(element, "")) report(element, input, { kind, siteKey });
    }
  };

  const words = (element) =>
    ["id", "name", "class", "alt", "title", "placeholder", "aria-label"].map((name) => element.getAttribute(name)).join(" ");

  const fieldFor = (image) => {
    let around = image.parentElement;
    for (let level = 0; around && level < 5; level++, around = around.parentElement) {
      const inputs = [...around.querySelectorAll("input:not([type]), input[type=text]")].filter((input) => input.offsetHeight);
      const named = inputs.find((input) => /captcha/i.test(words(input)));
      const likely = named ?? inputs.find((input) => /code|verif|security/i.test(words(input)));
      if (likely || inputs.length === 1) return likely ?? inputs[0];
      if (around.tagName === "FORM") return null;
    }
    return null;
  };

  const pictureOf = (image) => {
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL("image/png");
  };

  const lookForImages = () => {
    for (const image of document.images) {
      const source = image.currentSrc;
      const name = words(image) + (source.startsWith("data:") ? "" : source);
      if (!/captcha/i.test(name) || !image.complete || !image.offsetHeight) continue;
      if (image.naturalWidth < 30 || image.naturalWidth > 800 || image.naturalHeight < 12 || image.naturalHeight > 400) continue;
      const field = fieldFor(image);
      if (!field || field.value) continue;
      try {
        report(image, field, { kind: "image", source, image: pictureOf(image) });
      } catch {
        // A picture of another site cannot be read from here.
      }
    }
  };

  const look = () => {
    for (const widget of widgets) lookForWidgets(widget);
    lookForImages();
  };

  let planned = false;
  const plan = () => {
    if (planned) return;
    planned = true;
    setTimeout(() => {
      planned = false;
      look();
    }, PAUSE);
  };
  new MutationObserver(plan).observe(document, {
    subtree: true,
    childList: true,
    attributes: true,
    attributeFilter: ["src", "data-sitekey"],
  });
  document.addEventListener("load", plan, true);
  plan();

  globalThis.fleetCaptchas = {
    isWaiting: (number) => {
      const entry = waiting.get(number);
      return Boolean(entry && entry.field.isConnected && !entry.field.value);
    },
    // Returns the element whose owner is to be told.
    fill: (number, answer) => {
      const { box, field } = waiting.get(number);
      waiting.delete(number);
      for (const each of [field, ...box.querySelectorAll('[name="g-recaptcha-response"]')]) {
        each.value = answer;
        each.dispatchEvent(new Event("input", { bubbles: true }));
        each.dispatchEvent(new Event("change", { bubbles: true }));
      }
      // Should the page empty the field again, the captcha is a new one.
      reported.delete(box);
      return box;
    },
    giveUp: (number) => waiting.delete(number),
  };
})();
