"""Probes that ask a server on the host: http, jsonrpc, chain. Credentials are read on the host, from files."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible_collections.benchkeeper.core.plugins.module_utils._http import Answer, HttpError, Login, Request, fetch
from ansible_collections.benchkeeper.core.plugins.module_utils._jsonpath import MissingError, PathError, find
from ansible_collections.benchkeeper.core.plugins.module_utils._probes import (
    Context,
    ProbeError,
    Seen,
    Spec,
    need,
    settings_values,
)
from ansible_collections.benchkeeper.core.plugins.module_utils._probes_files import load_json, select

TIMEOUT = 5.0
_UNAUTHORIZED = (401, 403)
_PLACE = re.compile(r"\$([A-Z][A-Z0-9_]*)")
_SHOWN = 200  # characters of an address


def _login(spec: Spec) -> Optional[Login]:
    source = spec.get("digest")
    if not source:
        return None
    user, password = settings_values(need(source, "file"), [need(source, "user_key"), need(source, "password_key")])
    return Login(user, password)


def _bearer(spec: Spec) -> Dict[str, str]:
    """Return the header for ``bearer: {file, key}`` (a settings file) or ``{file, json}`` (a path in a JSON file)."""
    source = spec.get("bearer")
    if not source:
        return {}
    path = str(need(source, "file"))
    if source.get("key"):
        (token,) = settings_values(path, [source["key"]])
    else:
        try:
            token = find(load_json(path), need(source, "json"))
        except FileNotFoundError as error:
            raise ProbeError(f"credentials: {path} is missing") from error
        except (MissingError, PathError) as error:
            raise ProbeError(f"credentials: {path}: {error}") from error
    # A server without a token takes requests without one; an empty header is refused.
    return {"Authorization": f"Bearer {token}"} if token else {}


def _address(spec: Spec) -> str:
    url = str(need(spec, "url"))
    keys = _PLACE.findall(url) if spec.get("settings") else []
    values = dict(zip(keys, settings_values(str(spec.get("settings")), keys))) if keys else {}
    return _PLACE.sub(lambda place: values.get(place[1], place[0]), url)


def _ask(spec: Spec, url: str, method: str = "GET", body: Optional[bytes] = None) -> Answer:
    headers: Dict[str, str] = {str(key): str(value) for key, value in (spec.get("headers") or {}).items()}
    headers.update(_bearer(spec))
    if body is not None:
        headers["Content-Type"] = "application/json"
    try:
        return fetch(
            Request(
                url=url,
                method=method,
                headers=headers,
                body=body,
                login=_login(spec),
                timeout=float(spec.get("timeout", TIMEOUT)),
                verify=bool(spec.get("verify", True)),
            )
        )
    except HttpError as error:
        raise ProbeError(str(error)) from error


def probe_http(_name: str, spec: Spec, context: Context) -> Seen:
    """``http {url, settings?, method?, headers?, bearer?, digest?, json?, keep?, timeout?, verify?}``.

    ``$KEY`` in the address is a value of the settings file ``settings``. Observes ``status``, where a redirect leads as
    ``location`` and, for an answer that is JSON, the kept part of it as ``json``. A status that is an error is an answer; no
    answer is an error of the probe.
    """
    answer = _ask(spec, _address(spec), str(spec.get("method", "GET")))
    seen: Dict[str, Any] = {"status": answer.status}
    if "location" in answer.headers:
        seen["location"] = context.redactor.text(answer.headers["location"])[:_SHOWN]
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if kind:
        seen["content_type"] = kind.strip()
    if spec.get("json", bool(spec.get("keep"))):
        try:
            seen["json"] = select(answer.json(), spec.get("keep", "*"), context)
        except HttpError:
            seen["not_json"] = True
    return Seen(observed=seen)


class _Rpc:
    """A JSON-RPC server at one address."""

    def __init__(self, spec: Spec) -> None:
        url = str(need(spec, "url"))
        self._spec = spec
        self._url = url if url.endswith("/json_rpc") else url.rstrip("/") + "/json_rpc"

    def call(self, method: str, params: Any = None) -> Tuple[Any, Optional[str]]:
        """Return (result, None) or (None, the server's error)."""
        request: Dict[str, Any] = {"jsonrpc": "2.0", "id": "0", "method": method}
        if params is not None:
            request["params"] = params
        answer = _ask(self._spec, self._url, "POST", json.dumps(request).encode("utf-8"))
        if answer.status in _UNAUTHORIZED:
            raise ProbeError(f"{answer.status}: the credentials were refused")
        try:
            document = answer.json()
        except HttpError as error:
            raise ProbeError(str(error)) from error
        if not isinstance(document, Mapping):
            raise ProbeError("answer is no JSON-RPC")
        refusal = document.get("error")
        if refusal:
            text = f"{refusal.get('code')}: {refusal.get('message')}" if isinstance(refusal, Mapping) else str(refusal)
            return None, text[:200]
        return document.get("result"), None

    def result(self, method: str, params: Any = None) -> Any:
        """Return the result; an error of the server is an error of the probe."""
        result, error = self.call(method, params)
        if error is not None:
            raise ProbeError(f"{method}: {error}")
        return result


def probe_jsonrpc(_name: str, spec: Spec, context: Context) -> Seen:
    """``jsonrpc {url, method, params?, headers?, bearer?, digest?, keep?, timeout?, verify?}``: the kept part of the result.

    Or the server's error.
    """
    result, error = _Rpc(spec).call(str(need(spec, "method")), spec.get("params"))
    if error is not None:
        return Seen(observed={"error": context.redactor.text(error)})
    return Seen(observed={"result": select(result, spec.get("keep", "*"), context)})


def _hash(header: Any) -> Any:
    try:
        return find(header, "block_header.hash")
    except MissingError:
        return None


def probe_chain(name: str, spec: Spec, context: Context) -> Seen:
    """``chain {url, headers?, bearer?, digest?, timeout?, verify?}`` of a Monero node: genesis, height, last hash.

    Height is the number of blocks, the hash that of the last one. When the context carries a look from before, also the hash of
    the block that was the last one then.
    """
    rpc = _Rpc(spec)
    last = rpc.result("get_last_block_header")
    try:
        number = find(last, "block_header.height")
    except MissingError as error:
        raise ProbeError(f"answer is no block header: {error}") from error
    seen: Dict[str, Any] = {
        "height": number + 1,
        "hash": _hash(last),
        "genesis": _hash(rpc.result("get_block_header_by_height", {"height": 0})),
    }
    earlier = context.earlier(name).get("height")
    if isinstance(earlier, int) and earlier > 0:
        # A chain that became shorter has no such block: the server's error is the answer then.
        header, _error = rpc.call("get_block_header_by_height", {"height": earlier - 1})
        seen["before_height"] = earlier
        seen["before_height_hash"] = _hash(header) if header else None
    return Seen(observed=seen)


def credential_files(probes: Mapping[str, Spec]) -> List[str]:
    """Return the files that probes read credentials from, so that their values can be kept out of every result."""
    found = {
        source["file"]
        for spec in probes.values()
        for source in (spec.get("digest"), spec.get("bearer"))
        if isinstance(source, Mapping) and source.get("file")
    }
    return sorted(found)
