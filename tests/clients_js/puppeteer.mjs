// puppeteer-core against a session: node puppeteer.mjs <address> <site> <file in the upload folder>; prints what it saw.
import puppeteer from 'puppeteer-core';

const [address, site, upload] = process.argv.slice(2);
const seen = {};

const browser = await puppeteer.connect({ browserWSEndpoint: address });
seen.version = await browser.version();

const context = await browser.createBrowserContext();
const page = await context.newPage();
await page.goto(site);
seen.title = await page.title();
seen.sum = await page.evaluate(() => 1 + 1);
seen.screenshot = Buffer.from(await page.screenshot()).subarray(1, 4).toString();
seen.emulated = await (async () => {
  await page.setViewport({ width: 400, height: 300 });
  await page.emulateTimezone('Asia/Tokyo');
  return page.evaluate(() => [innerWidth, Intl.DateTimeFormat().resolvedOptions().timeZone]);
})();

await page.setRequestInterception(true);
page.on('request', request => request.url().endsWith('/made-up')
  ? request.respond({ status: 200, body: 'made up' })
  : request.continue());
seen.intercepted = await page.evaluate(() => fetch('/made-up').then(answer => answer.text()));
await page.setRequestInterception(false);

const events = await browser.target().createCDPSession();
await events.send('Browser.setDownloadBehavior', {
  behavior: 'allow', downloadPath: '/tmp/not-here', eventsEnabled: true, browserContextId: context.id,
});
const downloaded = new Promise(resolve => events.on('Browser.downloadProgress', progress => {
  if (progress.state !== 'inProgress') resolve(progress.state);
}));
await page.click('#file');
seen.download = await downloaded;

await page.evaluate(() => { document.body.innerHTML = '<input type=file>'; });
const input = await page.$('input');
await input.uploadFile(upload);
seen.upload = await page.evaluate(() => document.querySelector('input').files[0].text());
seen.outside = await input.uploadFile('/etc/hostname').then(() => 'taken', error => error.message);
seen.file = await page.goto('file:///etc/hostname').then(() => 'opened', error => error.message);

await context.close();
await browser.disconnect();
console.log(JSON.stringify(seen));
