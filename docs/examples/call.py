"""Count an issuer's stamps and create a contract: `python call.py ACCOUNT RFC STAMPS KEY`."""

import json
import sys

from timbres_client import Client

account, rfc, stamps, key = sys.argv[1:]
client = Client()
print(json.dumps(client.stamps(account, rfc), ensure_ascii=False))
print(json.dumps(client.contract(account, rfc, int(stamps), key), ensure_ascii=False))
