package terminal

import "testing"

func TestShow(t *testing.T) {
	for _, c := range []struct{ in, color, plain, strip string }{
		{"plain\ttext", "plain\ttext", "plain\ttext", "plain\ttext"},
		{"\x1b[31mred\x1b[0m end", "\x1b[31mred\x1b[0m end\x1b[0m", "red end", "red end"},
		{"\x1b[38;2;1;2;3mx", "\x1b[38;2;1;2;3mx\x1b[0m", "x", "x"},
		{"\x1b[4:3mx\x1b[m", "\x1b[4:3mx\x1b[m\x1b[0m", "x", "x"},
		{"\x1b[2Jgone\x1b[1A", `\x1b[2Jgone\x1b[1A`, `\x1b[2Jgone\x1b[1A`, "\x1b[2Jgone\x1b[1A"},
		{"\x1b]0;title\a\x1b[1mb", `\x1b]0;title\x07` + "\x1b[1mb\x1b[0m", `\x1b]0;title\x07b`, "\x1b]0;title\ab"},
		{"\x1b[?25l\x1b[31", `\x1b[?25l\x1b[31`, `\x1b[?25l\x1b[31`, "\x1b[?25l\x1b[31"},
		{"\x1b\x1b[1mx", `\x1b` + "\x1b[1mx\x1b[0m", `\x1bx`, "\x1bx"},
		{"\u009b31mx", `\u009b31mx`, `\u009b31mx`, "\u009b31mx"},
	} {
		if got := Show(c.in, true); got != c.color {
			t.Errorf("Show(%q, true) = %q, want %q", c.in, got, c.color)
		}
		if got := Show(c.in, false); got != c.plain {
			t.Errorf("Show(%q, false) = %q, want %q", c.in, got, c.plain)
		}
		if got := Strip(c.in); got != c.strip {
			t.Errorf("Strip(%q) = %q, want %q", c.in, got, c.strip)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		in    string
		width int
		want  string
	}{
		{"abcdef", 6, "abcdef"},
		{"abcdef", 4, "abc…"},
		{"abcdef", 0, "abcdef"},
		{"\x1b[31mabc\x1b[0m", 3, "\x1b[31mabc\x1b[0m"},
		{"\x1b[31mabcd\x1b[1mef\x1b[0m", 4, "\x1b[31mabc…\x1b[0m"},
		{"äöüß", 3, "äö…"},
	} {
		if got := Cut(c.in, c.width); got != c.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", c.in, c.width, got, c.want)
		}
	}
}
