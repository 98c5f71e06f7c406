#!/usr/bin/env python3
"""Writes vectors.json: tokens and forgeries with the verdict each must get, whatever checks them.

    python3 filters/auth/tests/vectors.py > filters/auth/tests/vectors.json

The output is deterministic. Keys and the first three tokens are those of RFC 7515 (A.2, A.3) and
RFC 8037 (A.1, A.4); the private halves are published there. Never use them for anything else.

jwks     every key, also those that must be ignored
spki     DER SubjectPublicKeyInfo of the usable keys, base64url
vectors  name, alg (as in the header, null if it is no string), kid (of the key to check with),
         token, valid, code (of the refusal; null if valid), complete (the header names `kid` and the
         claims are those of `expected`: a gateway configured so must answer with this very code)
"""
import base64
import hashlib
import hmac
import json


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def number(text):
    return int.from_bytes(unb64(text), "big")


# ---------------------------------------------------------------- RSA

RSA_N = (
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4Ql"
    "L-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUs"
    "LA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoud"
    "F8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
)
RSA_D = (
    "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe"
    "46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9J"
    "YanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuh"
    "LhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ"
)
# Made for this file, with the exponent 3.
E3_N = (
    "wFWEebwGeiPb_2Uc0pdEBubVm9TNnk2eXRstPi0gbiMWvOvAavuuBPM4c_pwYTBUYd_0btvcMQCLyEZ_Ku0U_MWgyNolLXD1"
    "pMgDq5O9QR_YxlnbG49OjWA1fxIDGjSxx86JPQGq6XkX1VIwC9uCzCs1A6qeXhRkgfXrJ_Pq2z4i-Mk9mygy6h2OOrjb4KDX"
    "8K-Ue5IU4nG_rtbqm2B5GfiZrO1cNj6HVavlSRsedjmPUCP0E8dD57KUMOwhnhBOQoLYXLoUibgceQ7rsnfBfM6AV_Q5nPdO"
    "25a3tnWk1218JAAVZ8U1ulcHv_EWu8PJduiCj_4EDxLYkbCiVLHDaw"
)
E3_D = (
    "gDkC-9Ku_Bfn_5i94botWe85Eo3eaYkUPhIeKXNq9BdkffKAR1J0A0zQTVGgQMri6-qi9JKSy1WyhYRUx0i4qIPAhebDc6Cj"
    "wzACcmJ-K2qQhDvnZ7TfCOrOVLasvCMhL98GKKvHRlC6jjbKspJXMsd4rRxplA2YVqPyGqKckihEVzzqdzcW_iwOysCYJCPq"
    "cOsnbtSmSOPSFcsn9nEGW7FDpOwGjKiv8WDwl_IHFW_TlxzAQxwGTPcKR5PzUJl6nm1ZzqNF_jYvIl6lFSYIK7s5PVWIjDpp"
    "EvSZUE272wGGCfwtrxGmocqKcRszjecxci8PT8A_8e4bQgLKtHKjSw"
)
K = 256  # bytes of both moduli
DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
N, D = number(RSA_N), number(RSA_D)
N3, D3 = number(E3_N), number(E3_D)


def sha256(data):
    return hashlib.sha256(data).digest()


def padded(tail, filler=b"\xff", start=b"\x00\x01", size=K):
    return start + filler * (size - len(tail) - 3) + b"\x00" + tail


def rsa_raw(encoded, n=N, d=D):
    return pow(int.from_bytes(encoded, "big"), d, n).to_bytes(K, "big")


def rsa_sign(message, n=N, d=D):
    return rsa_raw(padded(DIGEST_INFO + sha256(message)), n, d)


def cube_root_up(value):
    low, high = 0, 1 << (value.bit_length() // 3 + 2)
    while low < high:
        middle = (low + high) // 2
        if middle**3 < value:
            low = middle + 1
        else:
            high = middle
    return low


def pss_sign(message):
    salt = sha256(b"salt")
    h = sha256(bytes(8) + sha256(message) + salt)
    length = K - 32 - 1
    block = bytes(length - 33) + b"\x01" + salt
    mask = b"".join(sha256(h + i.to_bytes(4, "big")) for i in range(8))[:length]
    masked = bytearray(a ^ b for a, b in zip(block, mask))
    masked[0] &= 0x7F
    return rsa_raw(bytes(masked) + h + b"\xbc")


# ---------------------------------------------------------------- P-256

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
EC_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
EC_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
EC_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
EC_X = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
EC_Y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
EC_D = number("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI")


def ec_add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        slope = (3 * a[0] ** 2 - 3) * pow(2 * a[1], -1, P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope**2 - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def ec_mul(k, point):
    result = None
    while k:
        if k & 1:
            result = ec_add(result, point)
        point = ec_add(point, point)
        k >>= 1
    return result


def ec_sign(message, d=EC_D):
    z = int.from_bytes(sha256(message), "big")
    k = int.from_bytes(hmac.digest(d.to_bytes(32, "big"), message, "sha256"), "big") % EC_N
    r = ec_mul(k, EC_G)[0] % EC_N
    return r, pow(k, -1, EC_N) * (z + r * d) % EC_N


def raw(r, s):
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


OTHER_EC_D = int.from_bytes(sha256(b"another P-256 key"), "big") % EC_N
OTHER_EC = ec_mul(OTHER_EC_D, EC_G)

# ---------------------------------------------------------------- Ed25519

Q = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
ED_CONST = -121665 * pow(121666, -1, Q) % Q
ED_SEED = unb64("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
ED_X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"


def ed_x(y):
    xx = (y * y - 1) * pow(ED_CONST * y * y + 1, -1, Q)
    x = pow(xx, (Q + 3) // 8, Q)
    if (x * x - xx) % Q:
        x = x * pow(2, (Q - 1) // 4, Q) % Q
    return x if x % 2 == 0 else Q - x


ED_BY = 4 * pow(5, -1, Q) % Q
ED_B = (ed_x(ED_BY), ED_BY)
ED_ORDER_2 = (0, Q - 1)


def ed_add(a, b):
    product = ED_CONST * a[0] * b[0] * a[1] * b[1]
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + product, -1, Q)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, Q)
    return x % Q, y % Q


def ed_mul(k, point):
    result = (0, 1)
    while k:
        if k & 1:
            result = ed_add(result, point)
        point = ed_add(point, point)
        k >>= 1
    return result


def ed_encode(point):
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def ed_keys(seed):
    h = hashlib.sha512(seed).digest()
    a = int.from_bytes(h[:32], "little") & ((1 << 254) - 8) | (1 << 254)
    return a, h[32:], ed_encode(ed_mul(a, ED_B))


def ed_sign(message, seed=ED_SEED, add_to_r=None):
    a, prefix, public = ed_keys(seed)
    r = int.from_bytes(hashlib.sha512(prefix + message).digest(), "little") % L
    point = ed_mul(r, ED_B)
    commitment = ed_encode(ed_add(point, add_to_r) if add_to_r else point)
    k = int.from_bytes(hashlib.sha512(commitment + public + message).digest(), "little")
    return commitment + ((r + k * a) % L).to_bytes(32, "little")


OTHER_ED_SEED = sha256(b"another Ed25519 key")

# ---------------------------------------------------------------- keys


def der(tag, *parts):
    body = b"".join(parts)
    size = len(body)
    if size < 128:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def der_int(value):
    return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def spki_rsa(n, e):
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    return der(0x30, algorithm, der(3, b"\0", der(0x30, der_int(n), der_int(e))))


def spki_ec(x, y):
    algorithm = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
    return der(0x30, algorithm, der(3, b"\0\4", x, y))


def spki_ed(x):
    return der(0x30, bytes.fromhex("300506032b6570"), der(3, b"\0", x))


KEYS = [
    {"kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": RSA_N, "e": "AQAB"},
    {"kty": "RSA", "kid": "rsa-e3", "n": E3_N, "e": "Aw"},
    {"kty": "EC", "kid": "ec", "crv": "P-256", "key_ops": ["verify"], "x": EC_X, "y": EC_Y},
    {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "alg": "EdDSA", "x": ED_X},
    # To be ignored:
    {"kty": "OKP", "kid": "ed-identity", "crv": "Ed25519", "x": b64(ed_encode((0, 1)))},
    {"kty": "OKP", "kid": "ed-order-2", "crv": "Ed25519", "x": b64(ed_encode(ED_ORDER_2))},
    {
        "kty": "OKP",
        "kid": "ed-identity-unreduced",
        "crv": "Ed25519",
        "x": b64((Q + 1).to_bytes(32, "little")),
    },
    {"kty": "oct", "kid": "secret", "alg": "HS256", "k": b64(b"not a secret at all")},
    {"kty": "RSA", "kid": "rsa-enc", "use": "enc", "n": RSA_N, "e": "AQAB"},
]
SPKI = {
    "rsa": spki_rsa(N, 65537),
    "rsa-e3": spki_rsa(N3, 3),
    "ec": spki_ec(unb64(EC_X), unb64(EC_Y)),
    "ed": spki_ed(unb64(ED_X)),
}

# ---------------------------------------------------------------- tokens

EXPECTED = {"iss": "https://issuer.example", "aud": "https://api.example"}
CLAIMS = EXPECTED | {"sub": "user-1", "tid": "tenant-1", "iat": 1700000000, "exp": 4102444800}
VECTORS = []
NAMES = {"rsa": "RS256", "rsa-e3": "RS256", "ec": "ES256", "ed": "EdDSA"}


def compact(value):
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def signing_input(header, claims=None):
    claims = CLAIMS if claims is None else claims
    claims = claims if isinstance(claims, bytes) else compact(claims).encode()
    return b64(compact(header).encode()) + "." + b64(claims)


def head(kid, **more):
    return {"alg": NAMES.get(kid, "EdDSA"), "typ": "JWT", "kid": kid} | more


def sign(kid, text):
    message = text.encode()
    if kid == "rsa":
        return rsa_sign(message)
    if kid == "rsa-e3":
        return rsa_sign(message, N3, D3)
    if kid == "ec":
        return raw(*ec_sign(message))
    return ed_sign(message)


def vector(name, kid, token, code=None, complete=True):
    try:
        alg = json.loads(unb64(token.split(".")[0]))["alg"]
    except (ValueError, TypeError, KeyError, RecursionError):
        alg = None
    VECTORS.append(
        {
            "name": name,
            "alg": alg if isinstance(alg, str) else None,
            "kid": kid,
            "token": token,
            "valid": code is None,
            "code": code,
            "complete": complete,
        }
    )


def signed(name, kid, header=None, claims=None, code=None, by=None):
    """A token signed correctly by the key `by`."""
    text = signing_input(head(kid) if header is None else header, claims)
    vector(name, kid, text + "." + b64(sign(by or kid, text)), code)


def forged(name, kid, make, code="signature_invalid"):
    """A token with what `make` gives for its signing input as its signature."""
    text = signing_input(head(kid))
    vector(name, kid, text + "." + b64(make(text.encode())), code)


INVALID, MALFORMED = "signature_invalid", "token_malformed"
NOT_ALLOWED, UNKNOWN = "algorithm_not_allowed", "key_unknown"

# RFCs
RFC_PAYLOAD = (
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
)
RFC_RSA = "eyJhbGciOiJSUzI1NiJ9." + RFC_PAYLOAD
vector("RFC 7515 A.2", "rsa", RFC_RSA + "." + b64(rsa_sign(RFC_RSA.encode())), None, False)
vector(
    "RFC 7515 A.3",
    "ec",
    "eyJhbGciOiJFUzI1NiJ9." + RFC_PAYLOAD + ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8"
    "ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    None,
    False,
)
# Its payload is text, not claims: the signature verifies, the token is refused.
vector(
    "RFC 8037 A.4",
    "ed",
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6"
    "dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    MALFORMED,
    False,
)
assert VECTORS[0]["token"].split(".")[2].startswith("cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3X")
assert b64(ed_sign(VECTORS[2]["token"].rpartition(".")[0].encode())) == VECTORS[2]["token"].split(".")[2]

# good ones
for good in NAMES:
    signed(f"{good}: good", good)
signed("typ in other case", "rsa", head("rsa", typ="jWt"))
signed("typ at+jwt", "rsa", head("rsa", typ="at+jwt"))
signed("typ application/at+jwt", "rsa", head("rsa", typ="application/at+jwt"))
signed("no typ", "rsa", {"alg": "RS256", "kid": "rsa"})
signed("b64 true", "rsa", head("rsa", b64=True))
ATTACKER = {"kty": "RSA", "n": E3_N, "e": "Aw"}
LINKS = {"jwk": ATTACKER, "jku": "https://evil.example/jwks", "x5u": "https://evil.example/x5u", "x5c": ["MA"]}
signed("keys and links in the header are not looked at", "rsa", head("rsa", **LINKS))
for link in LINKS:
    signed(f"attacker's own key by {link}", "rsa", head("rsa", **{link: LINKS[link]}), None, INVALID, "rsa-e3")

# algorithm
for name in ["none", "None", "NONE", "nOnE", "", "rs256", "RS256 ", "Rs256", "RS384", "RS512", "PS256", "ES256K",
             "ES384", "ES512", "eddsa", "Ed25519", "HS384", "RSA-OAEP"]:
    text = signing_input(head("rsa", alg=name))
    vector(f"alg {json.dumps(name)}", "rsa", text + "." + b64(sign("rsa", text)), NOT_ALLOWED)
for name, value in [("a number", 256), ("an array", ["RS256"]), ("null", None), ("an object", {"RS256": 1}), ("true", True)]:
    text = signing_input(head("rsa", alg=value))
    vector(f"alg is {name}", "rsa", text + "." + b64(sign("rsa", text)), MALFORMED)
text = signing_input({"typ": "JWT", "kid": "rsa"})
vector("alg missing", "rsa", text + "." + b64(sign("rsa", text)), MALFORMED)
vector("alg none without signature", "rsa", signing_input(head("rsa", alg="none")) + ".", MALFORMED)
vector("alg none, two parts", "rsa", signing_input(head("rsa", alg="none")), MALFORMED)
PEM = (
    b"-----BEGIN PUBLIC KEY-----\n"
    + b"\n".join(
        base64.b64encode(SPKI["rsa"])[i : i + 64] for i in range(0, len(base64.b64encode(SPKI["rsa"])), 64)
    )
    + b"\n-----END PUBLIC KEY-----\n"
)
for name, secret in [("PEM", PEM), ("DER", SPKI["rsa"]), ("modulus", unb64(RSA_N)), ("JWK", compact(KEYS[0]).encode()), ("nothing", b"")]:
    for alg, kid in [("HS256", "rsa"), ("HS256", "secret")]:
        text = signing_input(head(kid, alg=alg))
        vector(f"{alg} with {name} as secret, kid {kid}", kid, text + "." + b64(hmac.digest(secret, text.encode(), "sha256")), NOT_ALLOWED)
    text = signing_input(head("rsa"))
    vector(f"RS256 with an HMAC under {name}", "rsa", text + "." + b64(hmac.digest(secret, text.encode(), "sha256")), INVALID)
for alg, kid in [("RS256", "ec"), ("RS256", "ed"), ("ES256", "rsa"), ("ES256", "ed"), ("EdDSA", "rsa"), ("EdDSA", "ec")]:
    signed(f"{alg} with the {kid} key", kid, head(kid, alg=alg), None, UNKNOWN)
for alg, kid in [("ES256", "rsa"), ("EdDSA", "ec"), ("RS256", "ed")]:
    own = {"RS256": "rsa", "ES256": "ec", "EdDSA": "ed"}[alg]
    signed(f"signed as {kid}, named {alg}", own, head(own), None, INVALID, kid)

# header
signed("crit", "rsa", head("rsa", crit=["exp"], exp=1), None, MALFORMED)
signed("crit empty", "rsa", head("rsa", crit=[]), None, MALFORMED)
signed("crit null", "rsa", head("rsa", crit=None), None, MALFORMED)
signed("b64 false", "rsa", head("rsa", b64=False), None, MALFORMED)
signed("b64 null", "rsa", head("rsa", b64=None), None, MALFORMED)
signed("enc", "rsa", head("rsa", enc="A128GCM"), None, MALFORMED)
signed("zip", "rsa", head("rsa", zip="DEF"), None, MALFORMED)
for typ in ["dpop+jwt", "logout+jwt", "secevent+jwt", "", "application/", 1, None, ["JWT"]]:
    signed(f"typ {json.dumps(typ)}", "rsa", head("rsa", typ=typ), None, MALFORMED)
signed("kid missing", "rsa", {"alg": "RS256", "typ": "JWT"}, None, UNKNOWN)
signed("kid empty", "rsa", head("rsa") | {"kid": ""}, None, UNKNOWN)
signed("kid unknown", "rsa", head("rsa") | {"kid": "rsa2"}, None, UNKNOWN)
signed("kid in other case", "rsa", head("rsa") | {"kid": "RSA"}, None, UNKNOWN)
signed("kid with a NUL", "rsa", head("rsa") | {"kid": "rsa\0"}, None, UNKNOWN)
signed("kid a path", "rsa", head("rsa") | {"kid": "../../../../dev/null"}, None, UNKNOWN)
signed("kid a number", "rsa", head("rsa") | {"kid": 1}, None, MALFORMED)
signed("kid null", "rsa", head("rsa") | {"kid": None}, None, MALFORMED)
signed("kid of 256 bytes", "rsa", head("rsa") | {"kid": "k" * 256}, None, UNKNOWN)
signed("kid of 257 bytes", "rsa", head("rsa") | {"kid": "k" * 257}, None, MALFORMED)
signed("key for encryption", "rsa", head("rsa") | {"kid": "rsa-enc"}, None, UNKNOWN)
signed("alg twice", "rsa", '{"alg":"RS256","alg":"RS256","kid":"rsa"}', None, MALFORMED)
signed("alg twice, escaped", "rsa", '{"alg":"RS256","al\\u0067":"none","kid":"rsa"}', None, MALFORMED)
signed("kid twice", "rsa", '{"alg":"RS256","kid":"rsa","kid":"rsa"}', None, MALFORMED)
signed("a member twice, deep in the header", "rsa", '{"alg":"RS256","kid":"rsa","jwk":{"a":[{"b":1,"b":1}]}}', None, MALFORMED)
signed("header is an array", "rsa", '["RS256"]', None, MALFORMED)
signed("header is a string", "rsa", '"RS256"', None, MALFORMED)
signed("header is null", "rsa", "null", None, MALFORMED)
signed("header is truncated", "rsa", '{"alg":"RS256"', None, MALFORMED)
signed("header with more behind", "rsa", '{"alg":"RS256","kid":"rsa"}{}', None, MALFORMED)
signed("header with a NUL behind", "rsa", '{"alg":"RS256","kid":"rsa"}\0', None, MALFORMED)
signed("header with a byte order mark", "rsa", '\ufeff{"alg":"RS256","kid":"rsa"}', None, MALFORMED)
signed("header nested deep", "rsa", '{"alg":"RS256","kid":"rsa","a":' + "[" * 1000 + "]" * 1000 + "}", None, MALFORMED)
signed("header with a comment", "rsa", '{"alg":"RS256",/**/"kid":"rsa"}', None, MALFORMED)
signed("header with white space", "rsa", '\r\n {"alg" :\t"RS256" , "kid": "rsa"} \n')

# payload, all of them signed
signed("claims are an array", "rsa", None, "[]", MALFORMED)
signed("claims are text", "rsa", None, "hello", MALFORMED)
signed("claims twice", "rsa", None, compact(CLAIMS) * 2, MALFORMED)
signed("a claim twice", "rsa", None, compact(CLAIMS)[:-1] + ',"sub":"admin"}', MALFORMED)
signed("a claim twice, escaped", "rsa", None, compact(CLAIMS)[:-1] + ',"s\\u0075b":"admin"}', MALFORMED)
signed("a member twice, deep in the claims", "rsa", None, compact(CLAIMS)[:-1] + ',"a":{"b":1,"b":2}}', MALFORMED)
signed("claims nested deep", "rsa", None, compact(CLAIMS)[:-1] + ',"a":' + "[" * 1000 + "]" * 1000 + "}", MALFORMED)
signed("claims are not UTF-8", "rsa", None, b'{"sub":"\xff"}', MALFORMED)
signed("a number out of range", "rsa", None, compact(CLAIMS)[:-1] + ',"a":1e999}', MALFORMED)

# form
text = signing_input(head("rsa"))
good = text + "." + b64(sign("rsa", text))
header, payload, signature = good.split(".")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def other_bits(part):
    """The same bytes, with another of the bits that do not count."""
    assert len(part) % 4 in (2, 3)
    return part[:-1] + ALPHABET[ALPHABET.index(part[-1]) ^ 1]


vector("signature with stray bits", "rsa", f"{header}.{payload}.{other_bits(signature)}", MALFORMED)
vector("signature padded", "rsa", good + "==", MALFORMED)
vector("signature with another character", "rsa", good + "A", INVALID)
vector("signature of impossible length", "rsa", good + "AAA", MALFORMED)
vector("signature missing", "rsa", f"{header}.{payload}.", MALFORMED)
vector("payload missing", "rsa", f"{header}..{signature}", MALFORMED)
vector("header missing", "rsa", f".{payload}.{signature}", MALFORMED)
vector("one part", "rsa", header, MALFORMED)
vector("two parts", "rsa", f"{header}.{payload}", MALFORMED)
vector("four parts", "rsa", f"{good}.{signature}", MALFORMED)
vector("five parts, as in a JWE", "rsa", f"{header}.{payload}.{signature}.{payload}.{signature}", MALFORMED)
vector("a dot behind", "rsa", good + ".", MALFORMED)
vector("a dot before", "rsa", "." + good, MALFORMED)
vector("dots only", "rsa", "..", MALFORMED)
vector("standard base64 in the signature", "rsa", f"{header}.{payload}." + signature.replace("-", "+").replace("_", "/"), MALFORMED)
assert "-" in signature or "_" in signature
vector("percent-encoded", "rsa", good.replace(".", "%2E"), MALFORMED)
vector("JSON serialisation", "rsa", compact({"protected": header, "payload": payload, "signature": signature}), MALFORMED)
odd_claims = CLAIMS | {"sub": "user-10"}
text = signing_input(head("rsa"), odd_claims)
while len(text.split(".")[1]) % 4 == 0:
    odd_claims["sub"] += "0"
    text = signing_input(head("rsa"), odd_claims)
text = other_bits(text)
vector("payload with stray bits, signed so", "rsa", text + "." + b64(sign("rsa", text)), MALFORMED)
text = signing_input(head("rsa")) + "="
vector("payload padded, signed so", "rsa", text + "." + b64(sign("rsa", text)), MALFORMED)

# any signature
for kid in NAMES:
    text = signing_input(head(kid))
    own = sign(kid, text)
    size = len(own)
    changed = signing_input(head(kid), CLAIMS | {"sub": "admin"})
    vector(f"{kid}: other claims", kid, changed + "." + b64(own), INVALID)
    changed = signing_input(head(kid, cty="x"))
    vector(f"{kid}: other header", kid, changed + "." + b64(own), INVALID)
    for place in (0, size // 2, size - 1):
        flipped = own[:place] + bytes([own[place] ^ 1]) + own[place + 1 :]
        vector(f"{kid}: bit flipped in byte {place}", kid, text + "." + b64(flipped), INVALID)
    for name, made in [
        ("one byte short", own[:-1]),
        ("first byte missing", own[1:]),
        ("one byte long", own + b"\0"),
        ("zero byte before", b"\0" + own),
        ("twice", own + own),
        ("reversed", own[::-1]),
        ("one byte", b"\1"),
        ("all zero", bytes(size)),
        ("all one", bytes(size - 1) + b"\1"),
        ("all ff", b"\xff" * size),
        ("4,000 bytes", b"\1" * 4000),
        ("of another message", sign(kid, "other")),
    ]:
        vector(f"{kid}: signature {name}", kid, text + "." + b64(made), INVALID)

# RS256 (RFC 8017 section 8.2.2)


def info(algorithm, digest):
    return der(0x30, der(0x30, algorithm), der(4, digest))


SHA256_OID = bytes.fromhex("0609608648016503040201")
NULL = b"\5\0"
FORMS = {
    "hash without DigestInfo": lambda m: padded(sha256(m)),
    "NULL missing": lambda m: padded(info(SHA256_OID, sha256(m))),
    "NULL twice": lambda m: padded(info(SHA256_OID + NULL + NULL, sha256(m))),
    "NULL with content": lambda m: padded(info(SHA256_OID + b"\5\1\0", sha256(m))),
    "object identifier of SHA-1": lambda m: padded(info(bytes.fromhex("06052b0e03021a") + NULL, sha256(m))),
    "object identifier of SHA-512": lambda m: padded(info(bytes.fromhex("0609608648016503040203") + NULL, sha256(m))),
    "SHA-1": lambda m: padded(info(bytes.fromhex("06052b0e03021a") + NULL, hashlib.sha1(m).digest())),
    "SHA-512": lambda m: padded(info(bytes.fromhex("0609608648016503040203") + NULL, hashlib.sha512(m).digest())),
    "hash short": lambda m: padded(info(SHA256_OID + NULL, sha256(m)[:31])),
    "hash long": lambda m: padded(info(SHA256_OID + NULL, sha256(m) + b"\0")),
    "BER: long length": lambda m: padded(b"\x30\x81\x31" + DIGEST_INFO[2:] + sha256(m)),
    "BER: indefinite length": lambda m: padded(b"\x30\x80" + DIGEST_INFO[2:] + sha256(m) + b"\0\0"),
    "BER: long length of the hash": lambda m: padded(
        der(0x30, DIGEST_INFO[2:17], b"\x04\x81\x20", sha256(m))
    ),
    "bytes after the hash": lambda m: padded(DIGEST_INFO + sha256(m) + b"\0"),
    "garbage after the hash": lambda m: (b"\0\1" + b"\xff" * 8 + b"\0" + DIGEST_INFO + sha256(m)).ljust(K, b"\x5a"),
    "garbage in the padding": lambda m: padded(DIGEST_INFO + sha256(m), b"\xfe"),
    "zero in the padding": lambda m: padded(DIGEST_INFO + sha256(m)).replace(b"\xff" * 9, b"\xff" * 8 + b"\0", 1),
    "no padding": lambda m: (b"\0\1\0" + DIGEST_INFO + sha256(m)).ljust(K, b"\0"),
    "no zero before DigestInfo": lambda m: (b"\0\1").ljust(K - 51, b"\xff") + DIGEST_INFO + sha256(m),
    "block type 0": lambda m: padded(DIGEST_INFO + sha256(m), b"\0", b"\0\0"),
    "block type 2": lambda m: padded(DIGEST_INFO + sha256(m), b"\x5a", b"\0\2"),
    "first byte not zero": lambda m: padded(DIGEST_INFO + sha256(m), b"\xff", b"\1\1"),
    "shifted by one byte": lambda m: padded(DIGEST_INFO + sha256(m), size=K - 1).ljust(K, b"\0"),
}
for name, form in FORMS.items():
    forged(f"rsa: {name}", "rsa", lambda m: rsa_raw(form(m)))
    forged(f"rsa-e3: {name}", "rsa-e3", lambda m: rsa_raw(form(m), N3, D3))
forged("rsa: PSS", "rsa", pss_sign)
forged("rsa: signed with another key", "rsa", lambda m: rsa_sign(m, N3, D3))
forged("rsa: s = n", "rsa", lambda m: N.to_bytes(K, "big"))
forged("rsa: s = n + 1", "rsa", lambda m: (N + 1).to_bytes(K, "big"))
forged("rsa: s = n - 1", "rsa", lambda m: (N - 1).to_bytes(K, "big"))
forged("rsa: n - s", "rsa", lambda m: (N - int.from_bytes(rsa_sign(m), "big")).to_bytes(K, "big"))
for kid, n, d in [("rsa", N, D), ("rsa-e3", N3, D3)]:
    for attempt in range(100):
        text = signing_input(head(kid), CLAIMS | {"jti": f"{attempt}"})
        bigger = int.from_bytes(rsa_sign(text.encode(), n, d), "big") + n
        if bigger < 1 << 8 * K:
            vector(f"{kid}: s + n, as long as n", kid, text + "." + b64(bigger.to_bytes(K, "big")), INVALID)
            break
    else:
        raise AssertionError("no signature is small enough")


def cubed(prefix_size):
    """Bleichenbacher 2006: no private key, garbage where the cube cannot be controlled."""

    def make(message):
        front = b"\0\1" + b"\xff" * prefix_size + b"\0" + DIGEST_INFO + sha256(message)
        target = int.from_bytes(front.ljust(K, b"\0"), "big")
        root = cube_root_up(target)
        assert (root**3).to_bytes(K, "big").startswith(front) and root**3 < N3
        return root.to_bytes(K, "big")

    return make


forged("rsa-e3: cube root with garbage behind, no padding", "rsa-e3", cubed(0))
forged("rsa-e3: cube root with garbage behind, eight bytes of padding", "rsa-e3", cubed(8))


def cubed_low(message):
    """Kühn and others 2008: a root whose cube ends in the right DigestInfo and hash."""
    tail = int.from_bytes(b"\0" + DIGEST_INFO + sha256(message), "big")
    if tail % 2 == 0:
        return None
    root = 0
    for bit in range(8 * 52):
        if (root**3 ^ tail) >> bit & 1:
            root |= 1 << bit
    assert (root**3 - tail) % (1 << 8 * 52) == 0
    return root.to_bytes(K, "big")


for attempt in range(100):
    text = signing_input(head("rsa-e3"), CLAIMS | {"jti": f"{attempt}"})
    low = cubed_low(text.encode())
    if low:
        vector("rsa-e3: cube that ends right", "rsa-e3", text + "." + b64(low), INVALID)
        break

# ES256 (RFC 7518 section 3.4)


def ec_form(change):
    return lambda m: change(*ec_sign(m))


high = signing_input(head("ec"))
r, s = ec_sign(high.encode())
vector("ec: the other s", "ec", high + "." + b64(raw(r, EC_N - s)))
low_high = sorted([s, EC_N - s])
vector("ec: low s", "ec", high + "." + b64(raw(r, low_high[0])))
vector("ec: high s", "ec", high + "." + b64(raw(r, low_high[1])))
forged("ec: r and s swapped", "ec", ec_form(lambda r, s: raw(s, r)))
forged("ec: r = 0", "ec", ec_form(lambda r, s: raw(0, s)))
forged("ec: s = 0", "ec", ec_form(lambda r, s: raw(r, 0)))
forged("ec: r = n", "ec", ec_form(lambda r, s: raw(EC_N, s)))
forged("ec: s = n", "ec", ec_form(lambda r, s: raw(r, EC_N)))
forged("ec: r = n, s = n", "ec", ec_form(lambda r, s: raw(EC_N, EC_N)))
forged("ec: r = p", "ec", ec_form(lambda r, s: raw(P, s)))
forged("ec: r = n + 1", "ec", ec_form(lambda r, s: raw(EC_N + 1, s)))
forged("ec: s = n - 1", "ec", ec_form(lambda r, s: raw(r, EC_N - 1)))
forged("ec: n - r", "ec", ec_form(lambda r, s: raw(EC_N - r, s)))
forged("ec: r = 1, s = 1", "ec", ec_form(lambda r, s: raw(1, 1)))
forged("ec: in DER", "ec", ec_form(lambda r, s: der(0x30, der_int(r), der_int(s))))
forged("ec: little-endian", "ec", ec_form(lambda r, s: r.to_bytes(32, "little") + s.to_bytes(32, "little")))
forged("ec: 48 bytes each", "ec", ec_form(lambda r, s: r.to_bytes(48, "big") + s.to_bytes(48, "big")))
forged("ec: signed with another key", "ec", lambda m: raw(*ec_sign(m, OTHER_EC_D)))
for attempt in range(3000):
    text = signing_input(head("ec"), CLAIMS | {"jti": f"{attempt}"})
    r, s = ec_sign(text.encode())
    if r < 1 << 248 and not any(v["name"] == "ec: r with a leading zero" for v in VECTORS):
        vector("ec: r with a leading zero", "ec", text + "." + b64(raw(r, s)))
    if s < 1 << 248 and not any(v["name"] == "ec: s with a leading zero" for v in VECTORS):
        vector("ec: s with a leading zero", "ec", text + "." + b64(raw(r, s)))
        vector(
            "ec: s without its leading zero", "ec", text + "." + b64(r.to_bytes(32, "big") + s.to_bytes(31, "big")), INVALID
        )
    if VECTORS[-1]["name"].startswith("ec: ") and {"ec: r with a leading zero", "ec: s with a leading zero"} <= {
        v["name"] for v in VECTORS
    }:
        break

# EdDSA (RFC 8032 section 5.1.7)


def ed_form(change):
    def make(message):
        own = ed_sign(message)
        return change(own[:32], int.from_bytes(own[32:], "little"))

    return make


def ed_raw(commitment, s):
    return commitment + s.to_bytes(32, "little")


forged("ed: S + L", "ed", ed_form(lambda r, s: ed_raw(r, s + L)))
forged("ed: S + 7 L", "ed", ed_form(lambda r, s: ed_raw(r, s + 7 * L)))
forged("ed: S = L", "ed", ed_form(lambda r, s: ed_raw(r, L)))
forged("ed: S = 0", "ed", ed_form(lambda r, s: ed_raw(r, 0)))
forged("ed: high bit of S", "ed", ed_form(lambda r, s: ed_raw(r, s | 1 << 255)))
forged("ed: L - S", "ed", ed_form(lambda r, s: ed_raw(r, L - s)))
forged("ed: R and S swapped", "ed", ed_form(lambda r, s: s.to_bytes(32, "little") + r))
forged("ed: sign of R", "ed", ed_form(lambda r, s: ed_raw(r[:31] + bytes([r[31] ^ 0x80]), s)))
forged("ed: R the identity", "ed", ed_form(lambda r, s: ed_raw(ed_encode((0, 1)), s)))
forged("ed: R no point", "ed", ed_form(lambda r, s: ed_raw(b"\2" + bytes(31), s)))
forged("ed: R with a part of order 2", "ed", lambda m: ed_sign(m, add_to_r=ED_ORDER_2))
forged("ed: signed with another key", "ed", lambda m: ed_sign(m, OTHER_ED_SEED))
forged("ed: hash signed", "ed", lambda m: ed_sign(hashlib.sha512(m).digest()))
# R = sB satisfies the equation for every message when the key is the identity.
for kid in ("ed-identity", "ed-order-2", "ed-identity-unreduced"):
    forged(f"{kid}: any message", kid, lambda m: ed_raw(ed_encode(ed_mul(7, ED_B)), 7), UNKNOWN)
    forged(f"{kid}: R = A, S = 0", kid, lambda m: ed_raw(ed_encode((0, 1)), 0), UNKNOWN)

names = [v["name"] for v in VECTORS]
assert len(names) == len(set(names)), [n for n in names if names.count(n) > 1]
print('{\n"expected":', compact(EXPECTED), ',\n"jwks": {"keys": [\n' + ",\n".join(map(compact, KEYS)) + "\n]},")
print('"spki": {\n' + ",\n".join(f'"{kid}": "{b64(key)}"' for kid, key in SPKI.items()) + "\n},")
print('"vectors": [\n' + ",\n".join(map(compact, VECTORS)) + "\n]\n}")
