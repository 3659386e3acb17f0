package boot

import (
	"strings"
	"testing"
)

// TestJobsAndTheClock: jobs on a machine whose clock is really set and whose zone is changed. docs/jobs.md has the rules. A
// resume from suspend is to timerfd(2) a clock that was set; this machine would not wake. The zone file is written at
// once and not renamed, which is the harder case for who watches it.
func TestJobsAndTheClock(t *testing.T) {
	t.Parallel()
	config := bootScript(`
await() { for i in $(seq 600); do eval "$1" && return 0; usleep 100000; done; echo "T:never: $1"; zinit jobs; zinit history nightly; date -u; return 1; }
runs() { zinit history $1 -o json | grep -c '"code": 0'; }
next() { zinit jobs -o json | sed -n '/"name": "'$1'"/,/next_at/s/.*"next_at": "\(.*\)".*/\1/p'; }
await 'zinit jobs >/dev/null'
date -u -s '2031-03-10 02:29:40' >/dev/null     # years are passed over: one run, at once
await '[ $(runs nightly) = 1 ]' && echo T:passed over
await '[ $(runs nightly) = 2 ]' && echo T:due
await '[ $(next nightly) = 2031-03-11T02:30:00.000Z ]' && echo T:next
date -u -s '2030-03-09 02:29:57' >/dev/null     # a time that has been is due again
await '[ $(runs nightly) = 3 ]' && echo T:again
await '[ $(next nightly) = 2030-03-10T02:30:00.000Z ]' && echo T:next again
date -u -s '2030-07-01 12:00:00' >/dev/null
await '[ $(runs nightly) = 4 ]' && echo T:summer
await '[ $(next local) = 2030-07-02T03:00:00.000Z ]' && echo T:greenwich
cat /etc/zinit/tokyo >/etc/localtime
await '[ $(next local) = 2030-07-01T18:00:00.000Z ]' && echo T:tokyo
await '[ $(next nightly) = 2030-07-02T02:30:00.000Z ]'
await '[ $(runs local) = 2 ]' && echo T:local
date -u -s '2030-07-02 02:29:50' >/dev/null     # passes over one of them, and the other is due soon
await '[ $(runs nightly) = 5 ]' && [ $(runs local) = 3 ] && echo T:both
echo T:end
zinit poweroff
`)
	config["services/nightly.toml"] = "[service]\nname = \"nightly\"\nexec = \"true\"\n[schedule]\ncalendar = \"*-*-* 02:30 UTC\"\n"
	config["services/local.toml"] = "[service]\nname = \"local\"\nexec = \"true\"\n[schedule]\ncalendar = \"*-*-* 03:00\"\n"
	config["tokyo"] = tokyo
	m := boot(t, (&image{config: config, busybox: true}).build(t), "quiet")
	m.say("T:end")
	for _, want := range []string{"T:passed over\n", "T:due\n", "T:next\n", "T:again\n", "T:next again\n", "T:summer\n", "T:greenwich\n",
		"T:tokyo\n", "T:local\n", "T:both\n"} {
		if !strings.Contains(m.text(), want) {
			t.Errorf("no %q", want)
		}
	}
	m.ends(poweredOff)
}

// tokyo is a zone file of nine hours east of Greenwich, as tzfile(5) has it: an empty old part, and a rule.
const tokyo = "TZif2" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + counts + "\x00\x00\x00\x00\x00\x00" + "\x00" +
	"TZif2" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + counts4 + "\x00\x00\x7e\x90\x00\x00" + "JST\x00" + "\nJST-9\n"

// The numbers of what a part holds: one kind of time, and the bytes of its name.
const (
	counts  = "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x01" + "\x00\x00\x00\x01"
	counts4 = "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x01" + "\x00\x00\x00\x04"
)
