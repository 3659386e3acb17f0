package proc

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestZoneFilesAreWatched replaces zone files in the ways of timedatectl, of a package's update, and of one that comes later. Each
// time whoever is told must find what is there now.
func TestZoneFilesAreWatched(t *testing.T) {
	if _, set := os.LookupEnv("TZ"); set {
		t.Setenv("TZ", "") // put back afterwards
		os.Unsetenv("TZ")
	}
	root := t.TempDir()
	dir := filepath.Join(root, "share", "zoneinfo")
	localBefore, dirsBefore := localZoneFile, zoneDirs
	localZoneFile, zoneDirs = filepath.Join(root, "etc", "localtime"), []string{dir, filepath.Join(root, "nowhere")}
	t.Cleanup(func() { localZoneFile, zoneDirs = localBefore, dirsBefore })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	put := func(name, text string) {
		must(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	link := func(name string) {
		must(os.Symlink(filepath.Join(dir, name), localZoneFile+".new"))
		must(os.Rename(localZoneFile+".new", localZoneFile))
	}
	must(os.MkdirAll(filepath.Dir(localZoneFile), 0o755))
	put("UTC", "utc")
	put("Europe/Berlin", "berlin")
	put("Europe/Paris", "paris")
	link("UTC")

	var mu sync.Mutex
	seen := map[string]string{}
	told := make(chan struct{}, 1000)
	paris, tokyo := filepath.Join(dir, "Europe/Paris"), filepath.Join(dir, "Asia/Tokyo")
	w := watchZones(func() {
		mu.Lock()
		for _, path := range []string{localZoneFile, paris, tokyo} {
			text, _ := os.ReadFile(path)
			seen[path] = string(text)
		}
		mu.Unlock()
		told <- struct{}{}
	})
	defer w.close()
	w.set([]string{"Europe/Paris", "Asia/Tokyo"})
	heard := func(what, path, want string) {
		t.Helper()
		deadline := time.After(30 * time.Second)
		for {
			select {
			case <-told:
			case <-deadline:
				t.Fatalf("%s is not told: %q was seen last, want %q", what, seen[path], want)
			}
			mu.Lock()
			got := seen[path]
			mu.Unlock()
			if got == want {
				return
			}
		}
	}

	link("Europe/Berlin")
	heard("another link", localZoneFile, "berlin")
	put("Europe/Berlin.dpkg-new", "berlin 2")
	must(os.Rename(filepath.Join(dir, "Europe/Berlin.dpkg-new"), filepath.Join(dir, "Europe/Berlin")))
	heard("an update of the file behind the link", localZoneFile, "berlin 2")
	must(os.Rename(paris, paris+".old"))
	heard("a named zone that is moved away", paris, "")
	put("Europe/Paris", "paris 2")
	heard("a named zone that comes back", paris, "paris 2")
	put("Asia/Tokyo", "tokyo")
	heard("a named zone that comes with its directory", tokyo, "tokyo")
	must(os.RemoveAll(dir))
	heard("that all zones go", localZoneFile, "")
	put("Europe/Paris", "paris 3")
	heard("zones that come back with their directories", paris, "paris 3")
	put("Europe/Berlin", "berlin 3")
	heard("the machine's zone that comes back", localZoneFile, "berlin 3")
}
