package boot

import (
	"fmt"
	"strings"
	"testing"
)

// TestConsole: a boot with many services of every kind, and their end, takes at most two lines of the console for each, and
// none with `quiet`, but for what is wrong.
func TestConsole(t *testing.T) {
	t.Parallel()
	for _, words := range []string{"", "quiet"} {
		t.Run("words "+words, func(t *testing.T) {
			t.Parallel()
			names, config := manyServices()
			i := image{config: config, busybox: true}
			m := boot(t, i.build(t), words)
			m.say("T:up\n")
			up := len(m.text())
			m.press("ctrl-alt-delete")
			m.ends(restarted)
			for part, text := range map[string]string{"boot": m.text()[:up], "end": m.text()[up:]} {
				for _, name := range names {
					most := 2
					if words == "quiet" && !strings.HasPrefix(name, "wrong") {
						most = 0
					}
					if lines := linesAbout(text, name); len(lines) > most {
						t.Errorf("%s: %d lines about %s:\n%s", part, len(lines), name, strings.Join(lines, ""))
					}
				}
			}
			if words == "" && linesAbout(m.text(), "web03") == nil {
				t.Error("nothing about web03")
			}
		})
	}
}

// manyServices are services in a chain and in a heap, oneshots, one that gets ready late, and some that cannot run.
func manyServices() (names []string, config map[string]string) {
	config = map[string]string{}
	add := func(name, text string) {
		names = append(names, name)
		config["services/"+name+".toml"] = fmt.Sprintf("[service]\nname = %q\n", name) + text
	}
	requires := ""
	for n := range 20 {
		add(fmt.Sprintf("web%02d", n), "exec = \"sleep 100000\"\n")
		name := fmt.Sprintf("chain%02d", n)
		add(name, "exec = \"sleep 100000\"\n"+requires)
		requires = fmt.Sprintf("[dependencies]\nrequires = [%q]\n", name)
		add(fmt.Sprintf("once%02d", n), "exec = \"true\"\noneshot = true\n")
	}
	add("late", "exec = \"sh -c 'sleep 1; echo >&3; exec sleep 100000'\"\nready = \"fd:3\"\n")
	add("wrong-code", "exec = \"sh -c 'exit 3'\"\n[lifecycle]\nrestart = \"never\"\n")
	add("wrong-file", "exec = [\"/no/such/program\"]\n[lifecycle]\nrestart = \"never\"\n")
	add("wrong-requirement", "exec = \"sleep 100000\"\n[dependencies]\nrequires = [\"wrong-code\"]\n")
	add("wrong-loop", "exec = \"sh -c 'exit 4'\"\n[lifecycle]\nrestart_delay_ms = 60000\n")
	config["services/up.toml"] = "[service]\nname = \"up\"\noneshot = true\nexec = \"sh -c 'usleep 500000; echo T:up >/dev/console'\"\n" +
		"[dependencies]\nrequires = [\"late\", \"chain19\", \"once19\"]\nafter = [\"wrong-code\", \"wrong-file\"]\n"
	return names, config
}

// linesAbout are the lines of the console that begin, after the time and the level, with the name of a service.
func linesAbout(text, name string) (lines []string) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, name+":") || strings.Contains(line, "service="+name+" ") || strings.HasSuffix(line, "service="+name+"\n") {
			lines = append(lines, line)
		}
	}
	return lines
}
