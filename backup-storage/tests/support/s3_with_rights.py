"""A second S3 server for tests: moto, with IAM, versions and object lock.

Starts it, makes buckets and users, prints one line of JSON with its endpoint and their keys, then obeys one command per
line of its input until that ends. Each answer is one line of JSON.
"""

import datetime
import json
import logging
import socket
import ssl
import sys
import tempfile
import threading
import urllib.request

import boto3
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
SERVER = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
SERVER.start()
ENDPOINT = "http://%s:%d" % SERVER.get_host_and_port()

USERS = {
    "backup": ["s3:*"],
    "no-list": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
    "no-delete": ["s3:GetObject", "s3:PutObject", "s3:ListBucket"],
    "no-read": ["s3:PutObject", "s3:DeleteObject", "s3:ListBucket"],
    "no-write": ["s3:GetObject", "s3:ListBucket"],
}


def client(service, keys=("setup", "setup")):
    return boto3.client(
        service,
        endpoint_url=ENDPOINT,
        region_name="us-east-1",
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
    )


def make_buckets():
    s3 = client("s3")
    s3.create_bucket(Bucket="backups")
    s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    s3.put_object_lock_configuration(
        Bucket="locked",
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}},
        },
    )


def make_users():
    iam = client("iam")
    users = {}
    for name, actions in USERS.items():
        policy = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}],
        }
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        users[name] = [key["AccessKeyId"], key["SecretAccessKey"]]
    return users


def versions(s3):
    """All versions of all objects, which is what a thief would list first."""
    found = []
    for page in s3.get_paginator("list_object_versions").paginate(Bucket="locked"):
        found += [(v["Key"], v["VersionId"]) for v in page.get("Versions", [])]
    return found


def tried(attempts, name, call):
    try:
        call()
        attempts.append([name, "done"])
    except ClientError as error:
        attempts.append([name, error.response["Error"]["Code"]])


def attack():
    """Everything that the keys of the backing-up host allow an intruder to try."""
    s3 = client("s3", USERS_KEYS["backup"])
    attempts = []
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
    for key, version in versions(s3):
        at = {"Bucket": "locked", "Key": key, "VersionId": version}
        tried(attempts, "delete version", lambda: s3.delete_object(**at))
        tried(attempts, "bypass", lambda: s3.delete_object(**at, BypassGovernanceRetention=True))
    for key in sorted({key for key, _ in versions(s3)}):
        tried(attempts, "overwrite", lambda: s3.put_object(Bucket="locked", Key=key, Body=b"ransom"))
        tried(attempts, "hide", lambda: s3.delete_object(Bucket="locked", Key=key))
    tried(attempts, "delete bucket", lambda: s3.delete_bucket(Bucket="locked"))
    return attempts


def contents():
    """Every version that is left, as [key, version, bytes in hexadecimal]."""
    s3 = client("s3", USERS_KEYS["backup"])
    left = []
    for key, version in versions(s3):
        body = s3.get_object(Bucket="locked", Key=key, VersionId=version)["Body"].read()
        left.append([key, version, len(body), body[:64].hex()])
    return left


def serve_tls():
    """A server with a certificate that nobody vouches for; returns its port."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as pem:
        pem.write(certificate.public_bytes(serialization.Encoding.PEM))
        pem.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        pem.flush()
        context.load_cert_chain(pem.name)
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            connection, _ = listener.accept()
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:
                pass

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


make_buckets()
USERS_KEYS = make_users()
# From here on rights are checked.
urllib.request.urlopen(
    urllib.request.Request(
        ENDPOINT + "/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}
    )
)
print(json.dumps({"endpoint": ENDPOINT, "users": USERS_KEYS}), flush=True)
for line in sys.stdin:
    command = {"attack": attack, "contents": contents, "serve_tls": serve_tls}[line.strip()]
    print(json.dumps(command()), flush=True)
