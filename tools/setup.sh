#!/bin/sh
# Installs the outside programs that the tests (setup.sh test) or the measurements (setup.sh bench) run, where
# they are missing. Says nothing when all is there. Debian and Ubuntu; elsewhere it names what is missing. What Debian
# does not have is built into bin/.
set -eu

# tool:package, for every program a test starts. gcc is for the race detector.
test_tools='gcc:gcc nginx:nginx-light apt-ftparchive:apt-utils dpkg-scanpackages:dpkg-dev gpg:gpg gpgv:gpgv
	curl:curl wget:wget nghttp:nghttp2-client ip:iproute2 iptables:iptables nsenter:util-linux openssl:openssl
	systemd-analyze:systemd systemd-socket-activate:systemd systemd-sysusers:systemd git:git'
bench_tools='nginx:nginx-light haproxy:haproxy h2load:nghttp2-client openssl:openssl'

case "${1:-}" in
test) tools=$test_tools ;;
bench) tools=$bench_tools ;;
*)
	echo "usage: tools/setup.sh test|bench" >&2
	exit 2
	;;
esac

# Debian keeps daemons in sbin, which is not on everybody's PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

if ! command -v go >/dev/null; then
	echo "setup: Go is not on PATH" >&2
	echo "setup: hint: install Go 1.26 or later from https://go.dev/dl/" >&2
	exit 1
fi

# toxiproxy makes lines bad for the tests of the channel. Debian has none, so it is built here, this very version.
toxiproxy=github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0
built=$(dirname "$0")/../bin/toxiproxy-2.5.0
if [ "$1" = test ] && [ ! -x "$built" ]; then
	echo "setup: building $toxiproxy"
	dir=$(mktemp -d)
	log=$dir/log
	if ! GOBIN=$dir GOFLAGS=-buildvcs=false CGO_ENABLED=0 go install -trimpath "$toxiproxy" >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		rm -rf "$dir"
		echo "setup: could not build $toxiproxy" >&2
		echo "setup: hint: is the machine offline? The module proxy has to be in reach once" >&2
		exit 1
	fi
	mkdir -p "$(dirname "$built")"
	mv "$dir/server" "$built"
	rm -rf "$dir"
fi

# Azurite is Microsoft's own emulator of storage: the fabric's is held against it. Where there is no npm, or npm is out of
# reach, that comparison is left out, and says so.
azurite=$(dirname "$0")/../bin/azurite-3.35.0
if [ "$1" = test ] && [ ! -d "$azurite" ] && command -v npm >/dev/null; then
	echo "setup: installing azurite 3.35.0 with npm"
	if timeout 300 npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$azurite.part" azurite@3.35.0 >&2; then
		mv "$azurite.part" "$azurite"
	else
		rm -rf "$azurite.part"
		echo "setup: npm could not install azurite; its comparison with the fabric's storage is left out" >&2
	fi
fi

# missing prints the packages whose program is not there, each once.
missing() {
	for pair in $tools; do
		command -v "${pair%%:*}" >/dev/null || echo "${pair#*:}"
	done
	# The race detector links against the C library's headers and start files.
	case $tools in gcc:*) [ -e /usr/include/stdlib.h ] || echo libc6-dev ;; esac
}
packages=$(missing | sort -u | tr '\n' ' ')
[ -n "$packages" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "setup: these Debian packages' programs are missing, and there is no apt-get here: $packages" >&2
	exit 1
fi
if [ "$(id -u)" = 0 ]; then
	as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
	as_root='sudo -n'
else
	echo "setup: missing: $packages" >&2
	echo "setup: hint: run once as root: apt-get install --no-install-recommends $packages" >&2
	exit 1
fi

# A daemon that comes with a package must not start, now or at the next boot: the tests run nginx and haproxy by
# themselves, on addresses of their own. policy-rc.d is Debian's switch for the first; an administrator's own is kept.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\n# Put here by tools/setup.sh while it installs packages.\nexit 101\n' | $as_root tee $policy >/dev/null
	$as_root chmod 755 $policy
	trap '$as_root rm -f $policy' EXIT
	trap 'exit 1' INT TERM
fi

echo "setup: installing $packages"
apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o Acquire::Retries=2"
log=$(mktemp)
install() { $apt install -y --no-install-recommends $packages </dev/null >"$log" 2>&1; }
if ! install && ! { $apt update </dev/null >"$log" 2>&1 && install; }; then
	tail -n 20 "$log" >&2
	rm -f "$log"
	echo "setup: could not install $packages" >&2
	echo "setup: hint: is the machine offline? Install them by hand: apt-get install --no-install-recommends $packages" >&2
	exit 1
fi
rm -f "$log"
for daemon in nginx haproxy; do
	case " $packages " in
	*" $daemon"*) $as_root systemctl disable --quiet $daemon.service 2>/dev/null || true ;;
	esac
done
left=$(missing | sort -u | tr '\n' ' ')
if [ -n "$left" ]; then
	echo "setup: still missing after the installation: $left" >&2
	exit 1
fi
