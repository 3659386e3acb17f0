package boot

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
)

// file writes a temporary file.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// modules are needed for an ext4 disk, in the order of loading; Debian builds them as modules.
var modules = []string{"virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk", "crc16", "mbcache",
	"jbd2", "crc32c_generic", "ext4", "loop", "dax", "dm_mod"}

// findModules returns --add arguments that put them into /lib/modules, and the shell commands that load them.
func findModules(t *testing.T) (add []string, load string) {
	t.Helper()
	version := strings.TrimPrefix(filepath.Base(kernel(t)), "vmlinuz-")
	found := map[string]string{}
	_ = filepath.Walk("/lib/modules/"+version, func(path string, info os.FileInfo, err error) error {
		if err == nil && strings.HasSuffix(path, ".ko") {
			found[strings.ReplaceAll(strings.TrimSuffix(info.Name(), ".ko"), "-", "_")] = path
		}
		return nil
	})
	need.That(t, found["ext4"] != "", "kernel modules of "+version)
	for _, name := range modules {
		if path := found[name]; path != "" { // others are built in
			add = append(add, path+":/lib/modules/"+name+".ko")
			load += "insmod /lib/modules/" + name + ".ko; "
		}
	}
	return add, load
}

// diskRoot makes an ext4 image with the binary as /sbin/init and a configuration.
func diskRoot(t *testing.T, config map[string]string, without ...string) string {
	t.Helper()
	mkfs := need.Program(t, "mkfs.ext4")
	root := t.TempDir()
	for _, dir := range []string{"sbin", "dev", "proc", "sys", "run", "tmp", "etc/zinit"} {
		if slices.Contains(without, dir) {
			continue
		}
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("cp", "-a", busyboxTree(t), filepath.Join(root, "bin")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(testkit.Binary(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/sbin/init", data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../sbin/init", root+"/bin/zinit"); err != nil {
		t.Fatal(err)
	}
	for name, text := range config {
		path := filepath.Join(root, "etc/zinit", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	disk := filepath.Join(t.TempDir(), "disk")
	if out, err := exec.Command(mkfs, "-q", "-d", root, disk, "48M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return disk
}

// TestSwitchRoot: an initramfs loads the disk's driver, mounts it and switches to it; the zinit there boots, and at the end
// the file system on the disk is clean.
func TestSwitchRoot(t *testing.T) {
	t.Parallel()
	config := bootScript(`
echo "T:root $(grep ' / ' /proc/mounts | cut -d' ' -f3 | tail -1) $(cat /proc/1/comm) $(readlink /proc/1/exe)"
echo "T:moved $(grep -c -E ' (/proc|/sys|/dev|/run) ' /proc/mounts) $(cat /run/from-initramfs)"
echo written >/data; echo "T:free $(df -k / | grep -c vda)"
dd if=/dev/zero of=/swap bs=1M count=2 2>/dev/null; chmod 600 /swap; mkswap /swap >/dev/null; swapon /swap; echo "T:swap $(grep -c ^/swap /proc/swaps)"
dd if=/dev/zero of=/inner bs=1M count=4 2>/dev/null; mknod /dev/loop0 b 7 0 2>/dev/null; losetup /dev/loop0 /inner && mke2fs -q /dev/loop0 >/dev/null
mapper /dev/loop0 8192 && for i in $(seq 100); do [ -b /dev/dm-0 ] && break; usleep 50000; done
mkdir -p /tmp/deep; mount -t ext4 /dev/dm-0 /tmp/deep && echo x >/tmp/deep/y; echo "T:deep $(grep -c dm-0 /proc/mounts) $(ls /sys/block/dm-0/slaves)"
zinit poweroff`)
	disk := diskRoot(t, config)
	add, load := findModules(t)
	add = append(add, mapper(t)+":/bin/mapper")
	first := bootScript(load + `mkdir /new; for i in $(seq 100); do [ -b /dev/vda ] && break; usleep 100000; done; mount -t ext4 /dev/vda /new && cp /bin/mapper /new/bin/ && echo T:mounted; echo kept >/run/from-initramfs
zinit switch-root /nowhere; zinit switch-root /tmp/none; zinit switch-root /new /no/init
trap "echo T:old service stopped; exit" TERM; zinit switch-root /new; while :; do usleep 100000; done`)
	i := image{config: first, busybox: true, add: add}
	m := boot(t, i.build(t), "quiet", "-drive", "file="+disk+",if=virtio,format=raw")
	m.say("T:mounted")
	m.say("/no/init is not an executable in /new")
	m.say("T:old service stopped")
	m.say("switching to /new and /sbin/init")
	m.say("T:root ext4 zinit-pid1 /sbin/init\n")
	m.say("T:moved 4 kept\n")
	m.say("T:swap 1\n")
	m.say("T:deep 1 loop0\n")
	m.ends(poweredOff)
	if strings.Contains(m.text(), "read-only: ") { // swap, the loop device and what is on top of it would hold the root
		t.Error("the root could not be made read-only")
	}
	clean(t, disk)
}

// mapper builds the program that makes a device-mapper device.
func mapper(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mapper")
	build := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", path, "./test/boot/mapper")
	build.Dir = testkit.Root()
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build mapper: %v\n%s", err, out)
	}
	return path
}

// TestBareRoot: a read-only root without /proc, /sys, /run, /tmp and a place for the socket: process 1 goes on, says what is
// missing, and the machine can be ended.
func TestBareRoot(t *testing.T) {
	t.Parallel()
	disk := diskRoot(t, map[string]string{"services/one.toml": "[service]\nname = \"one\"\n" +
		"exec = [\"/bin/busybox\", \"sh\", \"-c\", \"echo T:one runs >/dev/console; exec sleep 100000\"]\n"}, "proc", "sys", "run", "tmp")
	add, load := findModules(t)
	first := bootScript(load + `mkdir /new; for i in $(seq 100); do [ -b /dev/vda ] && break; usleep 100000; done; mount -r -t ext4 /dev/vda /new && echo T:mounted
zinit switch-root /new; while :; do usleep 100000; done`)
	i := image{config: first, busybox: true, add: add}
	m := boot(t, i.build(t), "quiet", "-drive", "file="+disk+",if=virtio,format=raw")
	m.say("T:mounted")
	m.say("switching to /new and /sbin/init")
	m.say("cannot mount proc on /proc")
	m.say("T:one runs")
	m.press("ctrl-alt-delete")
	m.ends(restarted)
	clean(t, disk)
}

// clean checks that the disk's file system was unmounted or made read-only at the end.
func clean(t *testing.T, disk string) {
	t.Helper()
	out, err := exec.Command(need.Program(t, "dumpe2fs"), "-h", disk).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lines := strings.Split(string(out), "\n")
	if !slices.ContainsFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, "Filesystem state:") && strings.HasSuffix(l, " clean")
	}) || strings.Contains(string(out), "needs_recovery") {
		t.Errorf("the disk is not clean:\n%s", out)
	}
}
