from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.benchkeeper.core.plugins.module_utils import _keeper_client
from ansible_collections.benchkeeper.core.plugins.modules import lease


@pytest.mark.parametrize(
    "late", [[], [{"run_id": "old", "path": "/etc/app.conf", "what": "was written", "at": 1.0, "after": 12.5}]]
)
def test_a_late_write_of_the_run_before_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], late: list[dict[str, Any]]
) -> None:
    answer = {"token": 1, "already": False, "late_writes": late}
    monkeypatch.setattr(_keeper_client, "call", lambda _verb, _request: answer)
    warned: list[str] = []
    # Where a warning goes depends on what else this process has loaded of Ansible.
    monkeypatch.setattr(lease.AnsibleModule, "warn", lambda _self, text: warned.append(text))
    with patch_module_args({"resource": "m", "run_id": "r", "nonce": "n" * 16}), pytest.raises(SystemExit):
        lease.main()
    result = json.loads(capsys.readouterr().out)
    assert result["late_writes"] == late
    said = ["/etc/app.conf was written 12.5 s after run old was undone; by whom cannot be told"] if late else []
    assert warned == said
