"""The small programs in Perl that benchmarks move: a server, and a writer beside it."""

# It ends at once when it is told to, so that nobody waits for the engine's ten seconds, and not
# with a client that goes away.
HERE = (
    "use IO::Socket::INET; $SIG{TERM} = sub { exit 0 }; $SIG{PIPE} = 'IGNORE'; "
    "my $l = IO::Socket::INET->new(LocalPort => 80, Listen => 9, ReuseAddr => 1) or die; "
    "while (1) { my $c = $l->accept or next; my $r = <$c>; "
    'print $c "HTTP/1.0 200 OK\\r\\n\\r\\nhere\\n"; close $c }'
)


def page_writer(pages_per_s: int, files: str = "/data/*") -> str:
    """Replaces random pages of 4 KiB of the files. It ends with its container or VM."""
    return (
        f"open my $u, '<', '/dev/urandom'; my @f = glob '{files}'; while (1) {{ "
        "open my $f, '+<', $f[rand @f] or die; seek $f, 4096 * int(rand((-s $f) / 4096)), 0; "
        "sysread $u, my $d, 4096; syswrite $f, $d; close $f; "
        f"select undef, undef, undef, 1 / {pages_per_s} }}"
    )
