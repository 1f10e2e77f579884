// Hides what the lists name for this page's host. What they name for every page is in hide.css.
(async () => {
  const everywhere = [/* everywhere */];
  const shardOf = (host) => {
    let number = 0;
    for (const character of host) number = (number * 31 + character.charCodeAt(0)) % 65536;
    return number % 64;
  };
  const labels = location.hostname.split(".");
  const suffixes = labels.map((_, index) => labels.slice(index).join(".")).filter((host) => host.includes("."));
  const hidden = new Set(everywhere);
  const kept = new Set();
  await Promise.all(
    suffixes.map(async (host) => {
      const answer = await fetch(chrome.runtime.getURL(`hosts/${shardOf(host)}.json`));
      const entry = (await answer.json())[host];
      for (const selector of entry?.hide ?? []) hidden.add(selector);
      for (const selector of entry?.keep ?? []) kept.add(selector);
    }),
  );
  const rules = [...hidden].filter((selector) => !kept.has(selector)).map((selector) => `${selector}{display:none!important}`);
  if (rules.length === 0) return;
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(rules.join("\n"));
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
})();
