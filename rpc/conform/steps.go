package conform

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// Step is one step of a scenario: a request, raw bytes, or something done beside the connection.
type Step struct {
	Method  string          `json:"m"`
	Params  json.RawMessage `json:"p"`
	ID      json.RawMessage `json:"id"`
	Raw     *string         `json:"raw"`
	Hex     bool            `json:"hex"`
	Repeat  int             `json:"repeat"`
	Newline *bool           `json:"nl"`
	EOF     bool            `json:"eof"`
	New     bool            `json:"new"`
	Timeout float64         `json:"timeout"`
	Until   *Until          `json:"until"`

	Note      string `json:"note"`
	Fuzzy     bool   `json:"fuzzy"`
	Unordered bool   `json:"unordered"`

	Sleep float64 `json:"sleep"`
	Shell string  `json:"sh"`
}

// Until repeats a request until the answer has a value at a path, or Timeout seconds have passed.
type Until struct {
	Path    string  `json:"path"`
	Equal   any     `json:"eq"`
	Timeout float64 `json:"timeout"`
}

// Player plays steps against a socket.
type Player struct {
	Socket  string
	Timeout time.Duration      // for one answer, where the step does not say; 0 = 3 s
	Sleep   func(float64)      // nil: steps that sleep are left out
	Shell   func(string) error // nil: steps that run a command are left out

	conn net.Conn
	buf  []byte
	next int
}

// LoadSteps reads cfg/NAME/steps.json. The variables ${CFG} and ${RUN} are replaced.
func LoadSteps(path string, variables map[string]string) ([]Step, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var steps []Step
	if err := json.Unmarshal([]byte(Replace(string(data), variables)), &steps); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return steps, nil
}

// Replace puts values in the place of ${NAME}.
func Replace(text string, variables map[string]string) string {
	for name, value := range variables {
		text = strings.ReplaceAll(text, "${"+name+"}", value)
	}
	return text
}

// Play plays the steps and returns the exchanges.
func (p *Player) Play(steps []Step) ([]Line, error) {
	defer p.drop()
	var lines []Line
	for _, step := range steps {
		switch {
		case step.Sleep > 0:
			if p.Sleep != nil {
				p.Sleep(step.Sleep)
			}
			continue
		case step.Shell != "":
			if p.Shell != nil {
				if err := p.Shell(step.Shell); err != nil {
					return lines, err
				}
			}
			continue
		}
		p.next++
		line, err := p.exchange(step)
		if err != nil {
			return lines, err
		}
		lines = append(lines, line)
	}
	return lines, nil
}

func (p *Player) exchange(step Step) (Line, error) {
	text, data, err := p.request(step)
	if err != nil {
		return Line{}, err
	}
	line := Line{Send: text, Note: step.Note, Fuzzy: step.Fuzzy, Unordered: step.Unordered}
	end := time.Now().Add(5 * time.Second)
	if step.Until != nil && step.Until.Timeout > 0 {
		end = time.Now().Add(seconds(step.Until.Timeout))
	}
	for {
		line.Recv = p.once(step, data)
		if step.Until == nil || fmt.Sprint(dig(line.Recv, step.Until.Path)) == fmt.Sprint(step.Until.Equal) || time.Now().After(end) {
			return line, nil
		}
		if p.Sleep != nil {
			p.Sleep(0.05)
		}
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func (p *Player) request(step Step) (text string, data []byte, err error) {
	if step.Raw == nil {
		id := string(step.ID)
		if id == "" {
			id = fmt.Sprint(p.next)
		}
		text = fmt.Sprintf(`{"jsonrpc": "2.0", "id": %s, "method": %q`, id, step.Method)
		if step.Params != nil {
			text += `, "params": ` + string(step.Params)
		}
		text += "}"
		var compact bytes.Buffer
		err = json.Compact(&compact, []byte(text))
		return text, append(compact.Bytes(), '\n'), err
	}
	text, data = *step.Raw, []byte(*step.Raw)
	if step.Hex {
		if data, err = hex.DecodeString(text); err != nil {
			return text, nil, err
		}
	}
	if step.Repeat > 0 {
		data = bytes.Repeat(data, step.Repeat)
	}
	if step.Newline == nil || *step.Newline {
		data = append(data, '\n')
	}
	return text, data, nil
}

// once sends and receives one answer.
func (p *Player) once(step Step, data []byte) any {
	if step.New {
		p.drop()
	}
	if p.conn == nil {
		conn, err := net.DialTimeout("unix", p.Socket, 3*time.Second)
		if err != nil {
			return "<ERR " + err.Error() + ">"
		}
		p.conn, p.buf = conn, nil
	}
	if _, err := p.conn.Write(data); err != nil {
		p.drop()
		return "<ERR " + err.Error() + ">"
	}
	if step.EOF {
		if half, ok := p.conn.(*net.UnixConn); ok {
			_ = half.CloseWrite()
		}
	}
	timeout := p.Timeout
	if timeout == 0 {
		timeout = 3 * time.Second
	}
	if step.Timeout > 0 {
		timeout = seconds(step.Timeout)
	}
	return p.receive(timeout)
}

func (p *Player) receive(timeout time.Duration) any {
	_ = p.conn.SetReadDeadline(time.Now().Add(timeout))
	chunk := make([]byte, 64<<10)
	for {
		if i := bytes.IndexByte(p.buf, '\n'); i >= 0 {
			line := p.buf[:i]
			p.buf = p.buf[i+1:]
			var v any
			if err := decode(line, &v); err != nil {
				return string(line)
			}
			return v
		}
		n, err := p.conn.Read(chunk)
		p.buf = append(p.buf, chunk[:n]...)
		if err == nil {
			continue
		}
		p.drop()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		return "<EOF>"
	}
}

func (p *Player) drop() {
	if p.conn != nil {
		_ = p.conn.Close()
		p.conn = nil
	}
}

// dig returns the value at a path like result.state.
func dig(v any, path string) any {
	for _, key := range strings.Split(path, ".") {
		members, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = members[key]
	}
	return v
}
