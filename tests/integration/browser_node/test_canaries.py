"""What one session leaves in its browser is not found from another, whatever its clients send."""

import asyncio
import json
import os
from contextlib import AsyncExitStack

from websockets.asyncio.client import connect

from browser_node.domain.browser import SessionId
from tests.support.node_fakes import an_order
from tests.support.pages import serving_pages
from tests.support.real_browsers import Host, RawClient, attach_token, hosting_real_browsers

OTHER = SessionId("pbs_" + "1" * 26)
CANARY = "canary-4b1d"


async def test_a_cookie_and_a_file_of_one_session_are_not_found_from_another() -> None:
    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(hosting_real_browsers())
        site = await stack.enter_async_context(serving_pages())
        await host.start()
        await asyncio.to_thread(hide_file, host)
        await host.browsers.start(an_order(session_id=OTHER))
        owner = RawClient(await stack.enter_async_context(connect(host.url())))
        url = host.url(attach_token(host.signer, session_id=OTHER), session_id=OTHER)
        thief_socket = await stack.enter_async_context(connect(url))
        thief = RawClient(thief_socket)

        page, context, target = await hide_cookie(owner, site)
        found = await asyncio.to_thread(lambda: next(host.scratch.glob(f"*/u/{CANARY}")))
        file, folder = str(found), str(found.parent)
        own = await thief.open_page()
        await thief.call("Page.navigate", {"url": site}, own)
        await thief.call("DOM.enable", session=own)
        root = (await thief.call("DOM.getDocument", session=own))["root"]["nodeId"]

        attempts: list[tuple[str, dict[str, object], str | None]] = [
            ("Target.getTargets", {}, None),
            ("Target.getBrowserContexts", {}, None),
            ("Storage.getCookies", {}, None),
            ("Storage.getCookies", {"browserContextId": context}, None),
            ("Network.getCookies", {"urls": [site]}, own),
            ("Runtime.evaluate", {"expression": "document.cookie"}, page),
            ("Runtime.evaluate", {"expression": "document.cookie + localStorage.canary"}, own),
            ("Target.attachToTarget", {"targetId": target, "flatten": True}, None),
            ("Target.getTargetInfo", {"targetId": target}, None),
            ("Target.createTarget", {"url": site, "browserContextId": context}, None),
            ("Target.sendMessageToTarget", {"sessionId": page, "message": evaluate("document.cookie")}, None),
            ("Target.detachFromTarget", {"sessionId": page}, None),
            ("Target.disposeBrowserContext", {"browserContextId": context}, None),
            ("Page.navigate", {"url": f"file://{file}"}, own),
            ("Page.navigate", {"url": f"view-source:file://{file}"}, own),
            ("Target.createTarget", {"url": f"file://{folder}"}, None),
            ("Network.loadNetworkResource", {"url": f"file://{file}", "options": {}}, own),
            ("DOM.setFileInputFiles", {"files": [file], "nodeId": root}, own),
            ("DOM.setFileInputFiles", {"files": [f"{upload_folder_of_other(host)}/../../{file}"], "nodeId": root}, own),
            ("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": folder}, None),
            (
                "Runtime.evaluate",
                {"expression": f"fetch('file://{file}').then(r => r.text())", "awaitPromise": True},
                own,
            ),
            ("Extensions.loadUnpacked", {"path": folder}, None),
            ("IO.read", {"handle": "1"}, None),
            ("SystemInfo.getProcessInfo", {}, None),
            ("DOMSnapshot.captureSnapshot", {"computedStyles": []}, own),
        ]
        heard = [await thief.answer(await thief.send(method, params, session)) for method, params, session in attempts]
        heard += [{"event": str(message)} for message in await rest_of(thief)]

        assert CANARY not in json.dumps(heard).replace(file, "")
        assert not any(known in json.dumps(heard[:2]) for known in (context, target))
        told = await owner.call("Runtime.evaluate", {"expression": "document.cookie"}, page)
        assert CANARY in told["result"]["value"]


def hide_file(host: Host) -> None:
    [folder] = host.scratch.glob("*/u")
    (folder / CANARY).write_text(CANARY)
    os.chown(folder / CANARY, folder.stat().st_uid, folder.stat().st_gid)


def upload_folder_of_other(host: Host) -> str:
    return str(next(folder for folder in host.scratch.glob("*/u") if not (folder / CANARY).exists()))


async def hide_cookie(owner: RawClient, site: str) -> tuple[str, str, str]:
    """Return the session, the context and the target of a page with the canary."""
    context = str((await owner.call("Target.createBrowserContext"))["browserContextId"])
    made = await owner.call("Target.createTarget", {"url": site, "browserContextId": context})
    attached = await owner.call("Target.attachToTarget", {"targetId": made["targetId"], "flatten": True})
    page = str(attached["sessionId"])
    await owner.call("Page.enable", session=page)
    await owner.call("Page.navigate", {"url": site}, page)
    leave: dict[str, object] = {"expression": f"document.cookie = 'c={CANARY}'; localStorage.canary = '{CANARY}'"}
    await owner.call("Runtime.evaluate", leave, page)
    return page, context, str(made["targetId"])


def evaluate(expression: str) -> str:
    return json.dumps({"id": 1, "method": "Runtime.evaluate", "params": {"expression": expression}})


async def rest_of(client: RawClient) -> list[object]:
    """Return what comes before the answer to one more command: nothing of another session may be among it."""
    return [await client.call("Browser.getVersion")]
