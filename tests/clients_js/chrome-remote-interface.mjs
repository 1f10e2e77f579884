// chrome-remote-interface against a session: node chrome-remote-interface.mjs <address> <site> <file in the upload folder>.
import CDP from 'chrome-remote-interface';

const [address, site, upload] = process.argv.slice(2);
const seen = {};

const client = await CDP({ target: address, local: true });
const { Browser, Target } = client;
seen.version = (await Browser.getVersion()).product;

const { browserContextId } = await Target.createBrowserContext();
await Browser.setDownloadBehavior({ behavior: 'allow', downloadPath: '/tmp/not-here', eventsEnabled: true, browserContextId });
const { targetId } = await Target.createTarget({ url: 'about:blank', browserContextId });
const { sessionId } = await Target.attachToTarget({ targetId, flatten: true });
const send = (method, params = {}) => client.send(method, params, sessionId);
const evaluate = async expression => {
  const { result } = await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
  return result.value;
};

await send('Page.enable');
const loaded = new Promise(resolve => client.on(`Page.loadEventFired.${sessionId}`, resolve));
await send('Page.navigate', { url: site });
await loaded;
seen.title = await evaluate('document.title');
seen.sum = await evaluate('1 + 1');
seen.screenshot = Buffer.from((await send('Page.captureScreenshot')).data, 'base64').subarray(1, 4).toString();

const downloaded = new Promise(resolve => client.on('Browser.downloadProgress', ({ state }) => {
  if (state !== 'inProgress') resolve(state);
}));
await evaluate("document.querySelector('#file').click()");
seen.download = await downloaded;

await evaluate("document.body.innerHTML = '<input type=file>'");
await send('DOM.enable');
const { root } = await send('DOM.getDocument');
const { nodeId } = await send('DOM.querySelector', { nodeId: root.nodeId, selector: 'input' });
const give = file => send('DOM.setFileInputFiles', { nodeId, files: [file] });
await give(upload);
seen.upload = await evaluate("document.querySelector('input').files[0].text()");
seen.outside = await give('/etc/hostname').then(() => 'taken', error => error.message);
seen.file = await send('Page.navigate', { url: 'file:///etc/hostname' }).then(() => 'opened', error => error.message);

await client.close();
console.log(JSON.stringify(seen));
