package initramfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/zinit/zinit/internal/testkit/need"
)

// unpacked is one entry as a reader of the format sees it.
type unpacked struct {
	name         string
	inode        uint64
	mode         uint64
	uid, gid     uint64
	mtime        uint64
	major, minor uint64
	data         []byte
}

// unpack is an independent reader of the newc format; it checks the layout as it goes.
func unpack(t *testing.T, archive []byte) []unpacked {
	t.Helper()
	if len(archive)%blockSize != 0 {
		t.Errorf("the archive has %d bytes, no multiple of %d", len(archive), blockSize)
	}
	var list []unpacked
	for at := 0; ; {
		if string(archive[at:at+6]) != "070701" {
			t.Fatalf("no magic at %d", at)
		}
		var f [13]uint64
		for i := range f {
			n, err := strconv.ParseUint(string(archive[at+6+8*i:at+14+8*i]), 16, 32)
			if err != nil {
				t.Fatalf("field %d at %d: %v", i, at, err)
			}
			f[i] = n
		}
		nameEnd := at + 110 + int(f[11])
		name := string(archive[at+110 : nameEnd-1])
		dataAt := (nameEnd + 3) &^ 3
		if name == trailer {
			return list
		}
		list = append(list, unpacked{name, f[0], f[1], f[2], f[3], f[5], f[9], f[10], archive[dataAt : dataAt+int(f[6])]})
		at = (dataAt + int(f[6]) + 3) &^ 3
	}
}

func pack(t *testing.T, tree *Tree) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tree.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, path, content string, mode os.FileMode) string {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), mode), os.Chmod(path, mode))
	return path
}

// unmet ends a test whose prerequisite is missing: a failure where everything must run, else a skip.
func unmet(t *testing.T, what string) {
	t.Helper()
	need.That(t, false, what)
}

func TestArchive(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir+"/tool", "12345", 0o755|os.ModeSetuid)
	tree := New()
	must(t, tree.Base(), tree.File("init", file), tree.Symlink("bin/tool", "../init"), tree.Data("etc/hostname", 0o644, []byte("x\n")))
	list := unpack(t, pack(t, tree))
	byName := map[string]unpacked{}
	seen := map[string]bool{"": true}
	for i, e := range list {
		if parent := filepath.Dir("/" + e.name)[1:]; !seen[parent] {
			t.Errorf("%s comes before its directory", e.name)
		}
		if e.inode != uint64(i+1) || e.uid != 0 || e.gid != 0 || e.mtime != 0 {
			t.Errorf("%s: inode %d, owner %d:%d, time %d", e.name, e.inode, e.uid, e.gid, e.mtime)
		}
		seen[e.name] = true
		byName[e.name] = e
	}
	for name, want := range map[string]string{
		"init": "104755 12345", "bin/tool": "120777 ../init", "etc/hostname": "100644 x\n", "tmp": "41777 ", "bin": "40755 ", "root": "40700 ",
	} {
		if got := fmt.Sprintf("%o %s", byName[name].mode, byName[name].data); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{"dev/console": "20600 5 1", "dev/null": "20666 1 3", "dev/kmsg": "20600 1 11", "dev/tty": "20666 5 0"} {
		if got := fmt.Sprintf("%o %d %d", byName[name].mode, byName[name].major, byName[name].minor); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestSameBytesTwice(t *testing.T) {
	dir := t.TempDir()
	for i := range 20 {
		write(t, fmt.Sprintf("%s/conf/%d/x.toml", dir, i*7%20), strings.Repeat("x", i), 0o640)
	}
	build := func() []byte {
		tree := New()
		must(t, tree.Base(), tree.AddConfig(dir+"/conf", "etc/zinit"), tree.Add("/bin/sh", ""))
		return pack(t, tree)
	}
	first := build()
	old := syscall.NsecToTimespec(0)
	must(t, syscall.UtimesNano(dir+"/conf/3/x.toml", []syscall.Timespec{old, old}), os.Chown(dir+"/conf/3/x.toml", os.Getuid(), os.Getgid()))
	if !bytes.Equal(first, build()) {
		t.Error("two archives of the same files differ")
	}
}

func TestLinksAreKept(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/real/tool-1.2", "tool", 0o755)
	must(t, os.Symlink("tool-1.2", dir+"/real/tool"), os.Symlink("real", dir+"/alias"), os.Symlink("/nowhere/at/all", dir+"/real/dangling"))
	tree := New()
	must(t, tree.Add(dir+"/real/tool", ""), tree.Add(dir+"/real", "/opt"), tree.Add(dir+"/real/tool", "/usr/bin/followed"), tree.Add(dir+"/alias", ""))
	tree.Finish()
	byName := map[string]unpacked{}
	for _, e := range unpack(t, pack(t, tree)) {
		byName["/"+e.name] = e
	}
	for path, want := range map[string]string{
		dir + "/real/tool": "tool-1.2", dir + "/real/tool-1.2": "tool", dir + "/alias": "real",
		"/opt/tool": "tool-1.2", "/opt/tool-1.2": "tool", "/opt/dangling": "/nowhere/at/all", "/usr/bin/followed": "tool",
	} {
		if got := string(byName[path].data); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if want := "/opt/dangling is a link to /nowhere/at/all, which is not in the image"; !slices.Contains(tree.Warnings, want) {
		t.Errorf("no warning %q in %q", want, tree.Warnings)
	}
}

func TestConfigLinksOutOfTheDirectoryAreFollowed(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/store/a.toml", "A", 0o644)
	write(t, dir+"/conf/services/b.toml", "B", 0o644)
	must(t, os.Symlink("../../store/a.toml", dir+"/conf/services/a.toml"), os.Symlink("b.toml", dir+"/conf/services/c.toml"))
	tree := New()
	must(t, tree.AddConfig(dir+"/conf", "etc/zinit"))
	var got []string
	for _, e := range unpack(t, pack(t, tree)) {
		got = append(got, fmt.Sprintf("%s=%o:%s", e.name, e.mode>>12, e.data))
	}
	want := []string{"etc=4:", "etc/zinit=4:", "etc/zinit/services=4:", "etc/zinit/services/a.toml=10:A", "etc/zinit/services/b.toml=10:B", "etc/zinit/services/c.toml=12:b.toml"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestPlaceThroughLinks(t *testing.T) {
	tree := New()
	must(t, tree.Dir("usr/lib", 0o755), tree.Symlink("lib", "usr/lib"), tree.Data("lib/x", 0o644, nil), tree.Symlink("lib64", "/lib"), tree.Data("lib64/y", 0o644, nil))
	want := []string{"/lib", "/lib64", "/usr", "/usr/lib", "/usr/lib/x", "/usr/lib/y"}
	if got := tree.Paths(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	must(t, tree.Symlink("loop1", "loop2"), tree.Symlink("loop2", "loop1"))
	if err := tree.Data("loop1/x", 0o644, nil); err == nil {
		t.Error("a path through a circle of links was accepted")
	}
	if err := tree.Data("usr", 0o644, nil); err == nil {
		t.Error("a file took the place of a directory")
	}
	if err := tree.Data("usr/lib/x/z", 0o644, nil); err == nil {
		t.Error("a file was put below a file")
	}
}

func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	must(t, syscall.Mkfifo(dir+"/fifo", 0o600))
	tree := New()
	for _, c := range []struct{ source, destination string }{
		{dir + "/missing", ""}, {"relative", ""}, {dir + "/missing", "/x"}, {dir + "/fifo", "/x"},
	} {
		err := tree.Add(c.source, c.destination)
		if err == nil || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "cannot add ") {
			t.Errorf("Add(%s, %s): %v", c.source, c.destination, err)
		}
	}
	must(t, tree.Add(dir, "/d"))
	if len(tree.Warnings) != 1 {
		t.Errorf("warnings %q, want one about the fifo", tree.Warnings)
	}
}

func TestFileThatShrinks(t *testing.T) {
	path := write(t, t.TempDir()+"/f", "0123456789", 0o644)
	tree := New()
	must(t, tree.Data("x", 0o644, nil), tree.File("f", path), os.WriteFile(path, []byte("01"), 0o644))
	if err := tree.Write(&bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "became shorter") {
		t.Errorf("error %v", err)
	}
}

func TestScriptWithoutItsInterpreter(t *testing.T) {
	path := write(t, t.TempDir()+"/run", "#! /usr/bin/missing-shell -e\n", 0o755)
	tree := New()
	must(t, tree.File("run", path))
	tree.Finish()
	if len(tree.Warnings) != 1 || !strings.Contains(tree.Warnings[0], "/run is a script for /usr/bin/missing-shell") {
		t.Errorf("warnings %q", tree.Warnings)
	}
}

// TestDynamicProgramRuns puts a dynamically linked program with its libraries into an image and runs it there.
func TestDynamicProgramRuns(t *testing.T) {
	tree := New()
	must(t, tree.Base(), tree.Add("/bin/ls", ""), tree.Add("/bin/sh", ""))
	tree.Finish()
	if len(tree.Warnings) != 0 {
		t.Errorf("warnings %q", tree.Warnings)
	}
	if !slices.ContainsFunc(tree.Paths(), func(p string) bool { return strings.Contains(p, "libc.so") || strings.Contains(p, "ld-musl") }) {
		t.Fatalf("no C library in %q", tree.Paths())
	}
	if os.Getuid() != 0 {
		unmet(t, "chroot needs root")
	}
	root := t.TempDir()
	extract(t, pack(t, tree), root)
	cmd := exec.Command("/bin/ls", "/")
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "dev") {
		t.Errorf("ls in the image: %v\n%s", err, out)
	}
}

// extract writes files, directories and links; device nodes are not needed.
func extract(t *testing.T, archive []byte, root string) {
	t.Helper()
	for _, e := range unpack(t, archive) {
		path := filepath.Join(root, e.name)
		switch e.mode >> 12 {
		case 0o4:
			must(t, os.MkdirAll(path, os.FileMode(e.mode&0o777)))
		case 0o12:
			must(t, os.Symlink(string(e.data), path))
		case 0o10:
			must(t, os.WriteFile(path, e.data, os.FileMode(e.mode&0o777)))
		}
	}
}

// TestOriginAndRunpath: a library beside the program, found over $ORIGIN, keeps its place relative to the program.
func TestOriginAndRunpath(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		unmet(t, "no C compiler")
	}
	dir := t.TempDir()
	write(t, dir+"/lib.c", "int answer(void) { return 42; }\n", 0o644)
	write(t, dir+"/main.c", "int answer(void); int main(void) { return answer() != 42; }\n", 0o644)
	must(t, os.Mkdir(dir+"/lib", 0o755), os.Mkdir(dir+"/bin", 0o755))
	for _, flags := range [][]string{
		{"-shared", "-fPIC", "-Wl,-soname,libanswer.so.1", "-o", "lib/libanswer.so.1.0", "lib.c"},
		{"-o", "bin/main", "main.c", "lib/libanswer.so.1.0", "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../lib"},
	} {
		cmd := exec.Command(cc, flags...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cc: %v\n%s", err, out)
		}
	}
	must(t, os.Symlink("libanswer.so.1.0", dir+"/lib/libanswer.so.1"))
	tree := New()
	must(t, tree.Add(dir+"/bin/main", "/opt/app/bin/main"))
	for _, want := range []string{"/opt/app/lib/libanswer.so.1", "/opt/app/lib/libanswer.so.1.0", "/opt/app/bin/main"} {
		if !slices.Contains(tree.Paths(), want) {
			t.Errorf("no %s in %q", want, tree.Paths())
		}
	}
}

func TestParseCache(t *testing.T) {
	cache := makeCache([][3]string{{"libz.so.1", "/lib/x/libz.so.1", ""}, {"libc.so.6", "/fast/libc.so.6", "hwcap"}, {"libc.so.6", "/lib/libc.so.6", ""}})
	old := append([]byte(oldCacheMagic), make([]byte, 4+12*1)...)
	binary.NativeEndian.PutUint32(old[len(oldCacheMagic):], 1)
	for len(old)%8 != 0 {
		old = append(old, 0)
	}
	for name, data := range map[string][]byte{"new": cache, "old and new": append(old, cache...)} {
		got := parseCache(data)
		if !slices.Equal(got["libc.so.6"], []string{"/lib/libc.so.6", "/fast/libc.so.6"}) || !slices.Equal(got["libz.so.1"], []string{"/lib/x/libz.so.1"}) {
			t.Errorf("%s: %v", name, got)
		}
	}
	for i := range cache {
		parseCache(cache[:i]) // must not panic
	}
	if got := cachedLibraries("/nonexistent/cache"); len(got) != 0 {
		t.Errorf("a missing cache has %v", got)
	}
}

func makeCache(entries [][3]string) []byte {
	header := append([]byte(cacheMagic), make([]byte, cacheHeader-len(cacheMagic))...)
	binary.NativeEndian.PutUint32(header[len(cacheMagic):], uint32(len(entries)))
	var records, names []byte
	base := cacheHeader + cacheRecord*len(entries)
	for _, e := range entries {
		record := make([]byte, cacheRecord)
		binary.NativeEndian.PutUint32(record[4:], uint32(base+len(names)))
		names = append(names, e[0]+"\x00"...)
		binary.NativeEndian.PutUint32(record[8:], uint32(base+len(names)))
		names = append(names, e[1]+"\x00"...)
		if e[2] != "" {
			binary.NativeEndian.PutUint64(record[cacheHwcapAt:], 1)
		}
		records = append(records, record...)
	}
	return append(append(header, records...), names...)
}

// TestRealCache compares with ldconfig where there is one: every library of this machine is found by its name.
func TestRealCache(t *testing.T) {
	out, err := exec.Command("/sbin/ldconfig", "-p").Output()
	if err != nil {
		unmet(t, "no ldconfig")
	}
	ours := cachedLibraries(cacheFile)
	checked := 0
	for _, line := range strings.Split(string(out), "\n") {
		name, path, found := strings.Cut(strings.TrimSpace(line), " => ")
		name, _, _ = strings.Cut(name, " ")
		if !found {
			continue
		}
		checked++
		if !slices.Contains(ours[name], path) {
			t.Errorf("%s => %s is not in %v", name, path, ours[name])
		}
	}
	if checked == 0 {
		t.Error("ldconfig told nothing")
	}
}

// TestCPIOReadsIt: the reference reader takes the archive without complaint.
func TestCPIOReadsIt(t *testing.T) {
	cpio, err := exec.LookPath("cpio")
	if err != nil {
		unmet(t, "no cpio")
	}
	tree := New()
	must(t, tree.Base(), tree.Symlink("a", "b"), tree.Data("odd", 0o644, []byte("123")))
	cmd := exec.Command(cpio, "-t")
	cmd.Stdin = bytes.NewReader(pack(t, tree))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil || strings.Contains(errs.String(), "warning") {
		t.Fatalf("%v: %s", err, errs.String())
	}
	if got := len(strings.Fields(out.String())); got != tree.Len() {
		t.Errorf("cpio lists %d entries, want %d", got, tree.Len())
	}
}
