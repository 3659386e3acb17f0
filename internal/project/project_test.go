package project

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zinit/zinit/internal/testkit/need"
)

func system(t *testing.T, runtime string) System {
	t.Helper()
	return System{UID: os.Geteuid(), Getenv: func(key string) string {
		if key == "XDG_RUNTIME_DIR" {
			return runtime
		}
		return ""
	}}
}

// tree makes a project with directories in and beside it.
func tree(t *testing.T) (root string) {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"shop/src/deep", "plain", "hidden/.zinit", "hidden/in", "settings"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for file, text := range map[string]string{"shop/zinit.toml": "[services.web]\nexec = \"x\"\n", "settings/zinit.toml": "[socket]\nmode = \"0600\"\n",
		"shop/src/zinit.toml": "[logging]\nstdout = true\n"} {
		if err := os.WriteFile(filepath.Join(root, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestFind: the nearest directory upwards with services counts, by whatever path it is reached.
func TestFind(t *testing.T) {
	root := tree(t)
	s := system(t, root)
	if err := os.Symlink(filepath.Join(root, "shop", "src"), filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{"shop": "shop", "shop/src/deep": "shop", "link": "shop", "hidden/in": "hidden", "plain": "", "settings": ""} {
		found, err := s.Find(filepath.Join(root, dir), false)
		got := ""
		if found.Project != nil {
			got = strings.TrimPrefix(found.Project.Dir, root+"/")
		}
		if err != nil || got != want {
			t.Errorf("in %s: %q, %v, want %q", dir, got, err, want)
		}
	}
	found, _ := s.Find(filepath.Join(root, "hidden"), false)
	if !slices.Equal(found.Project.Configs, []string{filepath.Join(root, "hidden", Hidden)}) {
		t.Errorf("loads %q", found.Project.Configs)
	}
	s.ConfigDir = filepath.Join(root, "shop")
	if found, _ := s.Find(filepath.Join(root, "shop"), false); found.Project != nil {
		t.Error("the configuration of the machine is a project")
	}
	if _, err := s.Find(filepath.Join(root, "gone"), false); err == nil {
		t.Error("a directory that does not exist has no error")
	}
}

// TestPlace: each project has a short path of its own, which is the same every time.
func TestPlace(t *testing.T) {
	root := tree(t)
	s := system(t, root)
	long := filepath.Join(root, strings.Repeat("long name äöü ", 12), "zinit.toml")
	if err := os.MkdirAll(filepath.Dir(long), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(long, []byte("[targets.a]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	shop, _ := s.Find(filepath.Join(root, "shop"), false)
	again, _ := s.Find(filepath.Join(root, "shop", "src"), false)
	other, _ := s.Find(filepath.Dir(long), false)
	for _, p := range []*Project{shop.Project, other.Project} {
		if len(p.Socket()) > maxSocket || !s.Has(p.Socket()) || p.Name[0] == '-' {
			t.Errorf("socket %s", p.Socket())
		}
	}
	if shop.Project.Socket() != again.Project.Socket() || shop.Project.Name == other.Project.Name || s.Has("/run/zinit.sock") {
		t.Errorf("%s, %s, %s", shop.Project.Socket(), again.Project.Socket(), other.Project.Name)
	}
	// A path that is too long for a socket goes below /tmp.
	deep := filepath.Join(root, strings.Repeat("d", 100))
	if err := os.Mkdir(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	if found, _ := system(t, deep).Find(filepath.Join(root, "shop"), false); len(found.Project.Socket()) > maxSocket {
		t.Errorf("socket %s", found.Project.Socket())
	}
	if list := s.List(); len(list) != 0 {
		t.Errorf("listed before there is a server: %v", list)
	}
	if err := shop.Project.Prepare(s.UID); err != nil {
		t.Fatal(err)
	}
	if list := s.List(); len(list) != 1 || list[0].Dir != shop.Project.Dir || list[0].Socket() != shop.Project.Socket() {
		t.Errorf("listed: %+v", list)
	}
	if err := os.Chmod(filepath.Dir(shop.Project.Runtime), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := shop.Project.Prepare(s.UID); err == nil || !strings.Contains(err.Error(), "others can write it") {
		t.Errorf("a place that others can write: %v", err)
	}
}

// TestForeign: root takes no project of others, and others none but their own and root's.
func TestForeign(t *testing.T) {
	need.Root(t)
	root := tree(t)
	file := filepath.Join(root, "shop", "zinit.toml")
	if err := os.Chown(file, 1234, 1234); err != nil {
		t.Fatal(err)
	}
	for uid, mine := range map[int]bool{0: false, 1234: true, 1235: false} {
		s := system(t, root)
		s.UID = uid
		found, err := s.Find(filepath.Join(root, "shop", "src"), false)
		if err != nil || (found.Project != nil) != mine || (found.Foreign == filepath.Join(root, "shop")) == mine {
			t.Errorf("user %d: %+v %v", uid, found, err)
		}
		if found, _ = s.Find(filepath.Join(root, "shop"), true); found.Project == nil {
			t.Errorf("user %d is refused what was asked for", uid)
		}
	}
}
