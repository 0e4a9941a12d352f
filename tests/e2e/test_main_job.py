"""The main job on the deployed template: HTTP, SOAP, queues, schedules, mails and links."""

import pytest
import requests
from local import demo
from local.start import shell_variables

from tests.support.api_calls import (
    generate_report,
    last_month,
)


@pytest.mark.usefixtures("libre_account")
def test_the_demo_runs_from_end_to_end_with_every_pac(environment, recorder, capsys, tmp_path):
    demo.run(environment, demo.Shell(shell_variables(environment)), tmp_path)

    recorder.output.append(output := capsys.readouterr().out)
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"estado-de-cuenta-{last_month()}-acme-rc.{suffix}" for suffix in ("csv", "pdf")),
        *(
            f"consumo-{last_month()}-{account}.{suffix}"
            for account in ("acme-rc", "acme-sf", "acme-libre", "daily-sf", "todas")
            for suffix in ("csv", "xlsx", "pdf", "html")
        ),
    }
    assert "byte for byte" in output
    # The third PAC needs only its package and its row.
    assert "Get the stamps that each issuer has left (Libre)" in output
    assert "contract manager (Libre)" in output


def test_a_presigned_link_opens_only_its_report(stack):
    link = generate_report(stack, "acme-rc", "consumption", "csv")["url"]
    other = link.replace("consumption.csv", "statement.csv", 1)

    statuses = [requests.get(url, timeout=10).status_code for url in (link, other, link[:-1])]

    assert statuses == [200, 403, 403]
    assert requests.get(link.partition("?")[0], timeout=10).status_code == 403
