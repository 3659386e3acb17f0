package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/zinit/zinit/internal/testkit/need"
)

// TestDiskShares: two services that read the same slow disk all the time get shares by their io_weight, with
// the scheduler BFQ.
func TestDiskShares(t *testing.T) {
	t.Parallel()
	add, load := loadable(t, "virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk", "bfq")
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 64<<20); err != nil {
		t.Fatal(err)
	}
	config := bootScript(load + `
while ! [ -b /dev/vda ]; do usleep 50000; done
echo bfq >/sys/block/vda/queue/scheduler
echo 0 >/sys/block/vda/queue/iosched/low_latency # no favours for those that have just begun
zinit start heavy light >/dev/null
reads() { zinit status $1 | grep -o '/sys/fs/cgroup[^ ]*' | head -n 1; }
h=$(reads heavy); l=$(reads light)
echo "T:files $(cat $h/io.weight | tr '\n' ' ')$(cat $h/io.bfq.weight | tr '\n' ' ')$(cat $l/io.weight | tr '\n' ' ')$(cat $l/io.bfq.weight | tr '\n' ' ')"
ios() { sed -n 's/.*rios=\([0-9]*\).*/\1/p' $1/io.stat; }
first_h=$(ios $h); first_l=$(ios $l)
for i in $(seq 1200); do n=$(ios $h); [ "${n:-0}" -gt $((${first_h:-0} + 150)) ] && break; usleep 100000; done
m=$(ios $l)
echo "T:reads $((n - ${first_h:-0})) $((m - ${first_l:-0})) end"
zinit stop heavy light >/dev/null
echo T:end
zinit poweroff
`)
	// Several readers each, so that a request always waits, also where emulation makes each of them slow.
	reader := func(name, weight string) string {
		return fmt.Sprintf("[service]\nname = %q\nstatus = \"stop\"\nexec = '''\nfor i in 1 2 3 4 5 6; do dd if=/dev/vda of=/dev/null bs=4k iflag=direct skip=${i}000 2>/dev/null & done; wait\n'''\n[cgroup]\nio_weight = %s\n", name, weight)
	}
	config["services/heavy.toml"], config["services/light.toml"] = reader("heavy", "10000"), reader("light", "10")
	m := boot(t, (&image{config: config, busybox: true, add: add}).build(t), "quiet",
		"-drive", "file="+disk+",if=none,id=d,format=raw,throttling.iops-total=25", "-device", "virtio-blk-pci,drive=d")
	m.say("T:end")
	if want := "T:files default 10000 default 1000 default 10 default 10 \n"; !strings.Contains(m.text(), want) {
		t.Errorf("no %q", want)
	}
	got := regexp.MustCompile(`T:reads (\d+) (\d+) end`).FindStringSubmatch(m.text())
	if got == nil {
		t.Fatal("no counts")
	}
	heavy, _ := strconv.Atoi(got[1])
	light, _ := strconv.Atoi(got[2])
	t.Logf("reads: %d and %d", heavy, light)
	if heavy < 150 || heavy < 2*light {
		t.Errorf("with a weight of 10000 and of 10 there were %d and %d reads", heavy, light)
	}
	m.ends(poweredOff)
}

// loadable returns --add arguments for modules of the kernel, and the shell commands that load them. One that is not there
// is built in.
func loadable(t *testing.T, names ...string) (add []string, load string) {
	t.Helper()
	dir := "/lib/modules/" + strings.TrimPrefix(filepath.Base(kernel(t)), "vmlinuz-")
	found := map[string]string{}
	_ = filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); err == nil && ok && slices.Contains(names, strings.ReplaceAll(name, "-", "_")) {
			found[strings.ReplaceAll(name, "-", "_")] = path
		}
		return nil
	})
	need.That(t, len(found) > 0, "kernel modules in "+dir)
	for _, name := range names {
		if path := found[name]; path != "" {
			add = append(add, path+":/lib/modules/"+name+".ko")
			load += "insmod /lib/modules/" + name + ".ko; "
		}
	}
	return add, load
}
