#!/usr/bin/env bash
# systemd 252: days that count from the end of a month may be 1 to 28 alone, but in a list only 1 to 25 as the second,
# 1 to 22 as the third, and so on.
#
# "*-*~26" (the 26th day from the end) and "*-*~01" (the last day) are fine, "*-*~01,26" is an invalid argument. The bound for such
# days is lowered by three for February once for every member of the list instead of once. A person who merges two timers
# into one, or writes a list out in full, gets an error that does not say what is wrong; the manual names no such bound.
#
# Where it bears on zinit: graph/calendar takes such lists; its comparison with systemd-analyze lists the difference.
set -euo pipefail
version=252.39-1~deb12u2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
for package in systemd libsystemd-shared; do
	apt-get -o APT::Sandbox::User=root download -qq "$package=$version" >/dev/null
	dpkg-deb -x "$package"_*.deb root
done
analyze() { LD_LIBRARY_PATH=$(dirname "$(find root -name 'libsystemd-shared-252.so')") TZ=UTC LC_ALL=C root/usr/bin/systemd-analyze "$@"; }
analyze --version | head -n 1
seen=
for list in 28 01 01,25 01,26 01,02,22 01,02,23; do
	if analyze calendar "*-*~$list" >/dev/null 2>&1; then word=accepted; else word=refused; fi
	echo "*-*~$list $word"
	seen+="$list=$word "
done
expected="28=accepted 01=accepted 01,25=accepted 01,26=refused 01,02,22=accepted 01,02,23=refused "
[ "$seen" = "$expected" ] || { echo "changed: expected $expected"; exit 1; }
echo "as found: the bound falls by three with every member"
