"""A real Kafka broker as it is in production: TLS, passwords (SCRAM-SHA-512), and rights (ACLs) that must be granted.

What each of our programs may do is data, `infra/kafka/acls.json`; nothing else is allowed to anybody but the admin.
One broker on loopback with certificates of its own; for tests, never for production.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from infra.kafka_broker import KafkaBroker, format_folders
from infra.kafka_distribution import missing_tool
from infra.server_process import LOOPBACK, ServerStartError, free_port
from infra.tls import make_certificates, missing_openssl
from infra.topics import Topic, create_missing

ACLS_FILE = Path(__file__).with_name("kafka") / "acls.json"
"""The rights of our programs."""

_MECHANISM = "SCRAM-SHA-512"
_SCRAM_ITERATIONS = 4096
_ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Acl:
    """One right on one thing, from any host.

    Attributes:
        role: Which of our programs needs it: `service`, `producer`.
        resource: `topic` or `group`.
        name: Its name.
        pattern: `literal` or `prefixed`.
        operation: As Kafka calls it: `READ`, `WRITE`, ...
    """

    role: str
    resource: str
    name: str
    pattern: str
    operation: str

    def binding(self, user: str) -> AclBinding:
        """Return it as the AdminClient wants it, for a user."""
        resource, pattern, operation = self._kinds()
        return AclBinding(
            resource, self.name, pattern, f"User:{user}", "*", operation, permission_type=AclPermissionType.ALLOW
        )

    def filter(self, user: str) -> AclBindingFilter:
        """Return what finds it."""
        resource, pattern, operation = self._kinds()
        return AclBindingFilter(
            resource, self.name, pattern, f"User:{user}", "*", operation, permission_type=AclPermissionType.ALLOW
        )

    def _kinds(self) -> tuple[ResourceType, ResourcePatternType, AclOperation]:
        return (
            ResourceType[self.resource.upper()],
            ResourcePatternType[self.pattern.upper()],
            AclOperation[self.operation],
        )


def load_acls(role: str, file: Path = ACLS_FILE) -> list[Acl]:
    """Read the rights of one role."""
    return [acl for acl in (Acl(**entry) for entry in json.loads(file.read_text())) if acl.role == role]


class SecureKafka:
    """One broker with the users `admin`, `fraud` (the service) and `clicks` (a producer), none but admin with rights.

    Args:
        directory: Its data, settings, certificates and `kafka.log`; kept after the end.
        heap: Java heap, as in `-Xmx`.
    """

    def __init__(self, directory: Path, heap: str = "128m") -> None:
        self.passwords = {user: secrets.token_hex(16) for user in ("admin", "fraud", "clicks")}
        self.ca = directory / "tls" / "ca.pem"
        self._tls = directory / "tls"
        own, controller = free_port(), free_port()
        login = f'username="admin" password="{self.passwords["admin"]}"'
        settings = {
            "listeners": f"SASL_SSL://{LOOPBACK}:{own},CONTROLLER://{LOOPBACK}:{controller}",
            "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
            "ssl.keystore.location": str((self._tls / "server.pem").resolve()),
            "ssl.truststore.location": str(self.ca.resolve()),
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
                f"org.apache.kafka.common.security.scram.ScramLoginModule required {login};"
            ),
        }
        self._broker = KafkaBroker(directory, own, settings, ["broker.properties", "secure.properties"], heap)

    @staticmethod
    def available() -> str | None:
        """Say why it cannot run here (no Java, no Maven, no openssl); None when it can."""
        return missing_tool() or missing_openssl()

    @property
    def bootstrap_servers(self) -> str:
        """Its address, `127.0.0.1:PORT`."""
        return self._broker.address

    def client(self, user: str) -> dict[str, Any]:
        """Return the librdkafka settings with which a user connects."""
        return {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": "sasl_ssl",
            "ssl.ca.location": str(self.ca),
            "sasl.mechanism": _MECHANISM,
            "sasl.username": user,
            "sasl.password": self.passwords[user],
        }

    def start(self) -> Self:
        """Start it on the data of its folder with all users, and wait until it answers.

        Raises:
            ServerStartError: If a tool is missing, its port is taken, or it is not ready in time.
            CertificateError: If openssl fails.
            KafkaDistributionError: If its jars cannot be fetched.
        """
        if (reason := self.available()) is not None:
            raise ServerStartError(reason)
        if not self.ca.exists():
            make_certificates(self._tls, "broker")
        # On a command line, which others on this machine can read: it is of a broker for tests.
        first_user = f"{_MECHANISM}=[name=admin,password={self.passwords['admin']}]"
        format_folders([self._broker], ["--add-scram", first_user])
        self._broker.launch()
        try:
            self._broker.wait_ready(self._answers)
            for user in ("fraud", "clicks"):
                self.set_password(user, self.passwords[user])
        except BaseException:
            self.kill()
            raise
        return self

    def _answers(self) -> bool:
        try:
            return bool(self._admin().list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    def _admin(self) -> AdminClient:
        return AdminClient({**self.client("admin"), "log_level": 0})

    def set_password(self, user: str, password: str) -> None:
        """Make a user, or give one a new password: the old one is refused from now on."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _SCRAM_ITERATIONS)
        wanted = UserScramCredentialUpsertion(user, info, password.encode())
        admin = self._admin()
        for answer in admin.alter_user_scram_credentials([wanted]).values():
            answer.result(_ANSWER_SECONDS)
        self.passwords[user] = password

    def grant(self, user: str, acls: Sequence[Acl]) -> None:
        """Give a user these rights, for good; harmless where it has them."""
        admin = self._admin()
        for answer in admin.create_acls([acl.binding(user) for acl in acls]).values():
            answer.result(_ANSWER_SECONDS)

    def revoke(self, user: str, acls: Sequence[Acl]) -> None:
        """Take these rights from a user.

        Raises:
            ValueError: If the user did not have one of them.
        """
        admin = self._admin()
        for answer in admin.delete_acls([acl.filter(user) for acl in acls]).values():
            if not answer.result(_ANSWER_SECONDS):
                msg = f"{user} did not have the right that was to be taken"
                raise ValueError(msg)

    def create_topics(self, topics: Mapping[str, int]) -> None:
        """Create those topics that do not exist; the values are partition counts."""
        create_missing(self.client("admin"), [Topic(*topic) for topic in topics.items()])

    def stop(self) -> None:
        """Stop it cleanly; its data stays. Harmless when it is not running."""
        self._broker.stop()

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would; its data stays."""
        self._broker.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
