"""Count an issuer's stamps and buy some, exactly once.

python call.py ACCOUNT RFC STAMPS KEY

Needs requests and botocore. The keys come from wherever the AWS SDKs look; TIMBRES_API_URL
and AWS_REGION from the environment.
"""

import json
import os
import sys
import time
from urllib.parse import quote, urlencode

import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.session import Session

API = os.environ["TIMBRES_API_URL"]
SIGNER = SigV4Auth(Session().get_credentials(), "execute-api", os.environ["AWS_REGION"])


def call(
    method: str,
    path: str,
    query: dict[str, str] | None = None,
    body: object = None,
    headers: dict[str, str] | None = None,
) -> requests.Response:
    """Send one signed request; return the answer, whatever its status."""
    url = API + path
    if query:
        # quote writes a blank as %20, where urlencode alone writes +, which no signature fits.
        url += "?" + urlencode(sorted(query.items()), quote_via=quote)
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **(headers or {})}
    request = AWSRequest(method, url, data=data, headers=headers)
    SIGNER.add_auth(request)
    # 5 seconds to connect, 35 to answer: the API itself gives up after 29.
    return requests.request(
        method, url, data=data, headers=dict(request.headers.items()), timeout=(5, 35)
    )


def buy(account: str, rfc: str, stamps: int, key: str) -> requests.Response:
    """Order stamps; return the answer. The key is the order's own and stays with it for ever."""
    order = {"rfc": rfc, "stamps": stamps}

    def send() -> requests.Response:
        path = f"/accounts/{account}/contracts"
        return call("POST", path, body=order, headers={"Idempotency-Key": key})

    for pause in (1, 2, 4, 8):
        seconds = pause
        try:
            answer = send()
            if not undecided(answer):
                return answer
            seconds = int(answer.headers.get("Retry-After", pause))
        except requests.RequestException:
            pass  # No answer: it may have been bought, so the same again.
        time.sleep(seconds)
    return send()


def undecided(answer: requests.Response) -> bool:
    """Tell whether to send the same order again at once, under the same key."""
    is_json = "json" in answer.headers.get("Content-Type", "")
    problem = answer.json() if is_json else {}
    if answer.status_code == 429 or answer.status_code >= 500:
        return "contract" not in problem  # With one, it is rejected: nothing was bought.
    return problem.get("code") == "contract-pending"


if __name__ == "__main__":
    account, rfc, stamps, key = sys.argv[1:]
    for answer in (
        call("GET", f"/accounts/{account}/stamps", {"rfc": rfc}),
        buy(account, rfc, int(stamps), key),
    ):
        print(answer.status_code, answer.text)
