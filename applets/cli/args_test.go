package cli

import (
	"context"
	"os"
	"strings"
	"testing"
)

func testInvocation(t *testing.T) *invocation {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var out, errs strings.Builder
	return newInvocation(ctx, cancel, strings.NewReader(""), &out, &errs)
}

func TestArrange(t *testing.T) {
	app := testInvocation(t).app
	for in, want := range map[string]string{
		"logs web -f":                         "logs -f -- web",
		"logs web -fn20":                      "logs -f -n=20 -- web",
		"logs -n 20 web db --since=10m":       "logs -n=20 --since=10m -- web db",
		"list -o json":                        "-o=json list --",
		"-o json list":                        "-o=json list --",
		"list -ojson":                         "-o=json list --",
		"logs web -o cat":                     "logs -o=cat -- web",
		"ls":                                  "list --",
		"kill web -s HUP":                     "kill -s=HUP -- web",
		"-s /x kill web":                      "-s=/x kill -- web",
		"kill web -9":                         "kill --signal=9 -- web",
		"kill -HUP web":                       "kill --signal=HUP -- web",
		"start web --timeout 3s --no-wait db": "start --timeout=3s --no-wait -- web db",
		"stop -- -odd":                        "stop -- -odd",
		"xinet register p --listen :80":       "xinet set --listen=:80 -- p",
		"add-service x --exec -v -e A=1,2":    "add-service --exec=-v -e=A=1,2 -- x",
		"image initramfs -o f -a x":           "image initramfs -o=f -a=x --",
		"-q --color=never ping":               "-q --color=never ping --",
		"--version":                           "--version version",
		"__complete logs -f ":                 "__complete logs -f",
		"add-service -":                       "add-service -- -",
	} {
		got, help, err := arrange(app, strings.Fields(in))
		if err != nil || help != nil || strings.Join(got, " ") != want {
			t.Errorf("arrange(%q) = %q, %v, %v; want %q", in, strings.Join(got, " "), help, err, want)
		}
	}
}

func TestArrangeHelp(t *testing.T) {
	app := testInvocation(t).app
	for in, want := range map[string]string{"": "", "-h": "", "--help": "", "start --help": "start", "start web -h": "start", "xinet set -h": "xinet set", "-o json": ""} {
		_, help, err := arrange(app, strings.Fields(in))
		if err != nil || help == nil || strings.Join(help.path, " ") != want {
			t.Errorf("arrange(%q) = %v, %v; want help for %q", in, help, err, want)
		}
	}
}

func TestArrangeErrors(t *testing.T) {
	app := testInvocation(t).app
	for in, want := range map[string]string{
		"lst":                "unknown command \"lst\"; did you mean list? (zinit help lists all)",
		"states":             "unknown command \"states\"; did you mean help states?",
		"frobnicate":         "unknown command \"frobnicate\" (zinit help lists all)",
		"xinet":              "xinet needs one of: set, delete, list, status",
		"xinet sett":         "unknown command \"xinet sett\"; did you mean xinet set? (zinit help lists all)",
		"logs --folow":       "unknown flag --folow; did you mean --follow? (see: zinit help logs)",
		"logs -x":            "unknown flag -x (see: zinit help logs)",
		"logs -n":            "flag -n needs a value (see: zinit help logs)",
		"--nonsense list":    "unknown flag --nonsense (see: zinit help)",
		"start --timeout=3s": "",
	} {
		_, _, err := arrange(app, strings.Fields(in))
		if want == "" {
			if err != nil {
				t.Errorf("arrange(%q): %v", in, err)
			}
			continue
		}
		if err == nil || err.Error() != want || exitCode(err) != exitUsage {
			t.Errorf("arrange(%q) = %v (code %d), want %q", in, err, exitCode(err), want)
		}
	}
}

func TestEveryCommandHasHelpAndCategory(t *testing.T) {
	v := testInvocation(t)
	for _, c := range v.app.Commands {
		if c.Hidden {
			continue
		}
		if c.Usage == "" || c.Category == "" {
			t.Errorf("%s: usage %q, category %q", c.Name, c.Usage, c.Category)
		}
	}
	for _, line := range strings.Split(v.overviewHelp(), "\n") {
		if len([]rune(line)) > 120 {
			t.Errorf("a line of the help is %d wide: %s", len([]rune(line)), line)
		}
	}
	for _, topic := range topics {
		if topicText(topic.name) == "" {
			t.Errorf("no text for the topic %s", topic.name)
		}
	}
}

func TestOldStyle(t *testing.T) {
	for _, c := range []struct {
		line, power string
		force       bool
	}{
		{"reboot", "reboot", false}, {"reboot -f", "reboot", true}, {"poweroff", "poweroff", false}, {"halt", "halt", false},
		{"halt -p", "poweroff", false}, {"halt -fp", "poweroff", true}, {"shutdown", "poweroff", false}, {"shutdown -h now", "poweroff", false},
		{"shutdown -r now", "reboot", false}, {"shutdown -H +0", "halt", false}, {"shutdown -t 3 -r now going down", "reboot", false},
		{"reboot --force", "reboot", true}, {"poweroff -d 0 -n", "poweroff", false},
	} {
		words := strings.Fields(c.line)
		o, err := parseOldStyle(words[0], words[1:])
		if err != nil || o.power.name != c.power || o.force != c.force {
			t.Errorf("%q = %+v, %v; want %s", c.line, o, err, c.power)
		}
	}
	for _, line := range []string{"reboot now", "reboot -x", "shutdown +5", "shutdown 12:00", "shutdown -c", "halt --later", "poweroff -d", "poweroff -d soon"} {
		words := strings.Fields(line)
		if _, err := parseOldStyle(words[0], words[1:]); exitCode(err) != exitUsage {
			t.Errorf("%q: %v, want a usage error", line, err)
		}
	}
}

// TestPageHasEveryCommand: docs/cli.md names every command.
func TestPageHasEveryCommand(t *testing.T) {
	page, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range testInvocation(t).app.Commands {
		if !c.Hidden && !strings.Contains(string(page), "zinit "+c.Name) && !strings.Contains(string(page), "`"+c.Name) {
			t.Errorf("docs/cli.md does not name %s", c.Name)
		}
	}
}
