package answer

import (
	"testing"

	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/view"
)

// TestReasonsAreWords: every reason has 0.3.9's word, its members, and a phrase.
func TestReasonsAreWords(t *testing.T) {
	for r := machine.ReasonExitCode; r <= machine.ReasonMissingDependency; r++ {
		reason := machine.Reason{Type: r, Code: 3, Signal: 9, Attempts: 2, Service: "db", Detail: "detail"}
		w := wireReason(reason)
		if w == nil || w.Type == "" || view.ReasonPhrase(reason) == "" {
			t.Errorf("reason %d: %+v %q", r, w, view.ReasonPhrase(reason))
		}
	}
	if wireReason(machine.Reason{}) != nil {
		t.Error("no reason became one")
	}
}
