#!/usr/bin/env python3
"""Asks a model over the Open Inference Protocol V2 as tritonclient's InferenceServerClient does by default: the JSON,
then the tensors in binary, without a Content-Type, and all outputs wanted in binary.

    infer_client.py URL CAFILE KEY MODEL TENSOR...

TENSOR is NAME:DATATYPE:SHAPE:VALUES, SHAPE as 2x3, VALUES with commas between them. Prints an output a line: its name,
shape and values. `--json` before URL asks for JSON both ways. What is no success is printed as "STATUS error"."""
import json
import http.client
import ssl
import struct
import sys
import urllib.parse

FORMATS = {"BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h",
           "INT32": "i", "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d"}


def pack(datatype, values):
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(v.encode())) + v.encode() for v in values)
    return struct.pack("<%d%s" % (len(values), FORMATS[datatype]), *values)


def unpack(datatype, data):
    if datatype != "BYTES":
        return list(struct.unpack("<%d%s" % (len(data) // struct.calcsize("<" + FORMATS[datatype]), FORMATS[datatype]), data))
    values = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        values.append(data[4:4 + length].decode())
        data = data[4 + length:]
    return values


def tensor(text):
    name, datatype, shape, values = text.split(":", 3)
    values = values.split(",")
    if datatype.startswith("FP"):
        values = [float(v) for v in values]
    elif datatype != "BYTES":
        values = [int(v) for v in values]
    return {"name": name, "shape": [int(n) for n in shape.split("x")], "datatype": datatype}, values


def request(tensors, in_json):
    described, data = [], b""
    for description, values in tensors:
        if in_json:
            description["data"] = values
        else:
            packed = pack(description["datatype"], values)
            description["parameters"] = {"binary_data_size": len(packed)}
            data += packed
        described.append(description)
    body = {"id": "7", "inputs": described}
    if not in_json:
        body["parameters"] = {"binary_data_output": True}
    text = json.dumps(body).encode()
    return text + data, {} if in_json else {"Inference-Header-Content-Length": str(len(text))}


def main():
    in_json = sys.argv[1] == "--json"
    url, cafile, key, model, *tensors = sys.argv[2 if in_json else 1:]
    body, headers = request([tensor(t) for t in tensors], in_json)
    where = urllib.parse.urlsplit(url)
    connection = http.client.HTTPSConnection(where.hostname, where.port, timeout=30,
                                             context=ssl.create_default_context(cafile=cafile))
    connection.request("POST", "/v2/models/%s/infer" % model, body, dict(headers, Authorization="Bearer " + key))
    response = connection.getresponse()
    data = response.read()
    if response.status != 200:
        print(response.status, json.loads(data)["error"])
        return
    length = response.getheader("Inference-Header-Content-Length")
    assert (length is None) == in_json, "binary outputs have a header, JSON has none"
    answer = json.loads(data[:int(length)] if length else data)
    data = data[int(length):] if length else b""
    assert answer["id"] == "7" and answer["model_name"] == model.split("/")[0]
    for output in answer["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        values = output["data"] if size is None else unpack(output["datatype"], data[:size])
        data = data[size or 0:]
        print(output["name"], "x".join(map(str, output["shape"])), *values)
    assert not data, "bytes are left"


main()
