package machine

import "github.com/zinit/zinit/graph"

// hasher is FNV-1a over words; it needs to tell states apart in tests, nothing more.
type hasher uint64

func (h *hasher) word(v uint64) {
	for range 8 {
		*h = (*h ^ hasher(v&0xff)) * 1099511628211
		v >>= 8
	}
}

func (h *hasher) text(s string) {
	h.word(uint64(len(s)))
	for i := range len(s) {
		*h = (*h ^ hasher(s[i])) * 1099511628211
	}
}

func (h *hasher) bit(b bool) {
	if b {
		h.word(1)
	} else {
		h.word(0)
	}
}

func (h *hasher) reason(r Reason) {
	h.word(uint64(r.Type))
	h.word(uint64(r.Code))
	h.word(uint64(r.Signal))
	h.word(uint64(r.Attempts))
	h.text(r.Service)
	h.text(r.Kind)
	h.text(r.Detail)
}

// Hash returns a number over the whole state: every record, the pending requests and the globals. Two machines with
// one hash go on in the same way. What only explains (why a start is owed, the text of the last probe) is left out.
func (m *Machine) Hash() uint64 {
	h := hasher(14695981039346656037)
	for i := range m.services {
		if s := &m.services[i]; !s.is(flagForgotten) {
			h.record(m.Record(graph.ID(i)))
		}
	}
	for _, r := range m.requests {
		h.word(uint64(r.req))
		h.word(uint64(r.service))
		h.word(uint64(r.verb))
		h.bit(r.wait)
		h.word(uint64(r.deadline))
	}
	h.word(uint64(m.nextGen))
	h.bit(m.shutting)
	h.bit(m.forced)
	h.bit(m.halted)
	h.word(uint64(m.haltCode))
	return uint64(h)
}

func (h *hasher) record(r Record) {
	h.text(r.Name)
	h.bit(r.Gone)
	for _, v := range [...]uint64{uint64(r.State), uint64(r.Phase), uint64(r.Gen), uint64(r.PID), uint64(r.Since),
		uint64(r.ReadyAt), uint64(r.SpawnedAt), uint64(r.StopAt), uint64(r.Restarts), uint64(r.Backoff),
		uint64(r.NextRestart), uint64(r.Flags), uint64(r.LastExit.At), uint64(r.LastExit.Status.Code),
		uint64(r.LastExit.Status.Signal)} {
		h.word(v)
	}
	for _, b := range [...]bool{r.WantedUp, r.HeldDown, r.Due, r.ResultOK, r.LastExit.Valid, r.LastExit.Status.Core,
		r.LastExit.Status.OOM, r.LastExit.Status.Unknown} {
		h.bit(b)
	}
	h.reason(r.Result)
	h.reason(r.Reason)
	for _, v := range r.Job {
		h.word(uint64(v))
	}
	for place, v := range r.Extra {
		if place != extraDueCause {
			h.word(uint64(v))
		}
	}
}
