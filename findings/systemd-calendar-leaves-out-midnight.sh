#!/usr/bin/env bash
# systemd 252: OnCalendar=*:0/25 (minutes 0, 25 and 50 of every hour) leaves out 00:00, every day.
#
# One expects every hour to be alike. They are, but for the one behind midnight: after 23:50 the next time is 00:25. The
# search adds the step to 50, gets minute 75 of hour 23, and normalizes that to 00:15 of the next day; since the day has
# changed it starts again with hour 0 of that day, but keeps the 15 minutes, and minute 0 is not looked at any more.
# Steps that divide 60 are not affected, since their overflow lands on minute 0. The same happens with */N of hours at the
# end of a month and of days at the end of a year.
#
# Where it bears on zinit: graph/calendar fires at 00:00; its comparison with systemd-analyze lists the difference.
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
seen=$(analyze calendar --iterations=4 --base-time='2026-12-01 23:20:00 UTC' '*:0/25' | sed -n 's/.*\(Next elapse\|Iter. #[0-9]*\): //p')
echo "after 2026-12-01 23:20:"
echo "$seen"
expected='Tue 2026-12-01 23:25:00 UTC
Tue 2026-12-01 23:50:00 UTC
Wed 2026-12-02 00:25:00 UTC
Wed 2026-12-02 00:50:00 UTC'
[ "$seen" = "$expected" ] || { echo "changed: expected"; echo "$expected"; exit 1; }
echo "as found: 00:00 is left out"
