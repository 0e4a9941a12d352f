"""Count an issuer's stamps and create one contract for the issuer.

python call.py ACCOUNT RFC STAMPS KEY

Needs requests and botocore. The AWS SDK finds the access keys. TIMBRES_API_URL and AWS_REGION
are environment variables.
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
    """Send one signed request; return the response with any status."""
    url = API + path
    if query:
        # quote encodes a blank as %20. urlencode alone encodes it as +, and the signature fails.
        url += "?" + urlencode(sorted(query.items()), quote_via=quote)
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **(headers or {})}
    request = AWSRequest(method, url, data=data, headers=headers)
    SIGNER.add_auth(request)
    # 5 seconds to connect, 35 to read: the API times out after 29.
    return requests.request(
        method, url, data=data, headers=dict(request.headers.items()), timeout=(5, 35)
    )


def contract_stamps(account: str, rfc: str, stamps: int, key: str) -> requests.Response:
    """Create a contract; return the response. The key always identifies this one contract."""
    body = {"rfc": rfc, "stamps": stamps}

    def send() -> requests.Response:
        path = f"/accounts/{account}/contracts"
        return call("POST", path, body=body, headers={"Idempotency-Key": key})

    for pause in (1, 2, 4, 8):
        seconds = pause
        try:
            response = send()
            if not should_repeat(response):
                return response
            seconds = int(response.headers.get("Retry-After", pause))
        except requests.RequestException:
            pass  # No response: the contract may exist, so repeat with the same key.
        time.sleep(seconds)
    return send()


def should_repeat(response: requests.Response) -> bool:
    """Return whether to repeat the request now, with the same key."""
    is_json = "json" in response.headers.get("Content-Type", "")
    problem = response.json() if is_json else {}
    if response.status_code == 429 or response.status_code >= 500:
        return "contract" not in problem  # With a contract: it is rejected.
    return problem.get("code") == "contract-pending"


if __name__ == "__main__":
    account, rfc, stamps, key = sys.argv[1:]
    for response in (
        call("GET", f"/accounts/{account}/stamps", {"rfc": rfc}),
        contract_stamps(account, rfc, int(stamps), key),
    ):
        print(response.status_code, response.text)
