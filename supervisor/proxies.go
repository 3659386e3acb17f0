package supervisor

import "github.com/zinit/zinit/rpc/wire"

func (s *Supervisor) XinetSet(c wire.XinetConfig) error { return errNoProxies() }
func (s *Supervisor) XinetDelete(name string) error     { return errNoProxies() }
func (s *Supervisor) XinetList() []string               { return []string{} }
func (s *Supervisor) XinetStatus(name string) (wire.XinetStatus, error) {
	return wire.XinetStatus{}, wire.NewError(wire.CodeNotFound, "proxy not found: "+name)
}
func (s *Supervisor) XinetStatusAll() []wire.XinetStatus { return []wire.XinetStatus{} }

func errNoProxies() error { return wire.NewError(wire.CodeInternal, "not available yet") }
