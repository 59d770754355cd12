"""A server with data, as a user runs it on alpha: it counts what it is sent."""

import shlex

from portkit.lab import Lab
from tests.integration.commands import on, wait_for

PORT = 8141
# Counts what is posted in a file, and answers with the number. The file is put in its place whole:
# a prober asks all the time, and whoever copies the file meanwhile must not find it half written.
# A client that goes away before its answer must not end the server.
# On the host that FAILS names (the paths of a lab host's mounts have its name in them) it ends.
SERVER = (
    "use IO::Socket::INET; use IO::Handle; open my $g, '<', '/proc/self/mountinfo'; "
    "if (my $f = $ENV{FAILS}) { exit 3 if grep { m{/$f/docker/} } <$g> } "
    "my $l = IO::Socket::INET->new(LocalPort => 80, Listen => 9, ReuseAddr => 1) or die; "
    "$SIG{TERM} = sub { exit 0 }; $SIG{PIPE} = 'IGNORE'; "
    "while (my $c = $l->accept) { my $r = <$c>; my $n = 0; "
    "if (open my $f, '<', '/data/count') { $n = <$f>; close $f } "
    "if ($r =~ /^POST/) { $n++; open my $f, '>', '/data/new' or die; print $f $n; $f->flush; "
    "$f->sync; close $f; rename '/data/new', '/data/count' or die; "
    "open my $d, '<', '/data' or die; $d->sync; close $d } "
    'print $c "HTTP/1.0 200 OK\\r\\n\\r\\n$n\\n"; close $c }'
)


def counter(lab: Lab, name: str, *more: str) -> None:
    """Start the server on alpha, as a user does."""
    words = ["docker", "run", "-d", "--name", name, "--restart", "always", "-p", f"{PORT}:80"]
    words += ["-v", f"{name}-data:/data", *more, "debian:bookworm-slim", "perl", "-e", SERVER]
    on(lab, "alpha", shlex.join(words))
    wait_for(f"http://{lab.address('alpha')}:{PORT}/")


def remove(lab: Lab, name: str) -> None:
    on(lab, "alpha", f"docker rm -f {name}; docker volume rm {name}-data", check=False)
