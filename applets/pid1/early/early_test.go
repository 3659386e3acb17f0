package early

import (
	"strings"
	"testing"
)

func TestRole(t *testing.T) {
	tests := []struct {
		argv  string
		first bool
		want  string
	}{
		{"/init", true, "zinit-pid1"},
		{"/sbin/init splash -x", true, "zinit-pid1"},
		{"/sbin/init", false, ""},
		{"zinit-pid1 --config d", false, "zinit-pid1"},
		{"/usr/bin/zinit pid1 --config d", false, "zinit-pid1"},
		{"zinit init", false, ""},
		{"zinit init --help", false, ""},
		{"zinit init", true, "zinit-pid1"},
		{"zinit init --config d", false, "zinit-pid1"},
		{"zinit init -- sleep 1", false, "zinit-pid1"},
		{"zinit", true, "zinit-pid1"},
		{"zinit", false, ""},
		{"zinit list", true, ""},
		{"zinit server", false, "zinit-server"},
		{"/x/zinit-server", true, "zinit-server"},
		{"zinit-exec 1 2", false, ""},
		{"zinit-exec", true, ""},
		{"", true, ""},
	}
	for _, test := range tests {
		if got := role(strings.Fields(test.argv), test.first); got != test.want {
			t.Errorf("%q (process 1: %v): %q, want %q", test.argv, test.first, got, test.want)
		}
	}
}
