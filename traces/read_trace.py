"""Reads a dpemu trace with nothing but Python 3: totals by protocol and direction, and HTTP requests, as JSON."""
import json, struct, sys, zlib
from array import array

def decode(b, i):                         # one MessagePack object at b[i]: (value, where it ends)
    t = b[i]
    if t < 0x80: return t, i + 1
    if t >= 0xe0: return t - 256, i + 1
    if t == 0xc0: return None, i + 1
    if t in (0xc2, 0xc3): return t == 0xc3, i + 1
    numbers = {0xca: ">f", 0xcb: ">d", 0xcc: ">B", 0xcd: ">H", 0xce: ">I", 0xcf: ">Q", 0xd0: ">b", 0xd1: ">h", 0xd2: ">i", 0xd3: ">q"}
    if t in numbers: return struct.unpack_from(numbers[t], b, i + 1)[0], i + 1 + struct.calcsize(numbers[t])
    sized = {0xc4: (bytes, 1), 0xc5: (bytes, 2), 0xc6: (bytes, 4), 0xd9: (str, 1), 0xda: (str, 2), 0xdb: (str, 4), 0xdc: (list, 2), 0xdd: (list, 4), 0xde: (dict, 2), 0xdf: (dict, 4)}
    if t in sized:
        kind, width = sized[t]
        n, i = int.from_bytes(b[i + 1:i + 1 + width], "big"), i + 1 + width
    else: kind, n, i = (dict, t & 15, i + 1) if t < 0x90 else (list, t & 15, i + 1) if t < 0xa0 else (str, t & 31, i + 1)
    if kind in (bytes, str): return b[i:i + n] if kind is bytes else b[i:i + n].decode(), i + n
    items = []
    for _ in range(n * 2 if kind is dict else n):
        item, i = decode(b, i)
        items.append(item)
    return (dict(zip(items[::2], items[1::2])), i) if kind is dict else (items, i)

data = open(sys.argv[1], "rb").read()
header, at = decode(data, 0)
assert header["format"] == "dpemu-trace" and header["version"] == 1, "not a trace of version 1"
protocols, slots, totals, connections, requests = {6: "TCP", 17: "UDP", 132: "SCTP"}, {}, {}, 0, 0
while True:
    block, at = decode(data, at)
    if block["kind"] == "index": break
    columns = {"connections": ("slot", "client", "destination", "sourcePort"), "packets": ("time", "slot", "flags", "length"), "requests": ("row", "request", "requestBytes", "responseBytes")}.get(block["kind"])
    if columns is None: continue          # a kind of a later version
    assert zlib.crc32(b"".join(block[c] for c in columns)) == block["crc"], f"damaged block before byte {at}"
    if block["kind"] == "requests":
        for r in array("I", block["request"]): assert r < len(header["requests"])
        requests += block["rows"]
        continue
    slot = array("I", block["slot"])      # array("I") and ("H") are little-endian words on little-endian machines
    if block["kind"] == "connections":
        connections += block["rows"]
        for s, d in zip(slot, array("I", block["destination"])): slots[block["lane"], s] = protocols[header["destinations"][d]["protocol"]]
    else:
        for s, flags, length in zip(slot, block["flags"], array("H", block["length"])):
            total = totals.setdefault(slots[block["lane"], s] + (" reply" if flags & 0x80 else " original"), {"packets": 0, "bytes": 0})
            total["packets"] += 1; total["bytes"] += length
print(json.dumps({"name": header["name"], "connections": connections, "requests": requests, "totals": totals}, sort_keys=True))
