package decode

import (
	"encoding/json"
	"errors"

	"github.com/wstape/wstape/tape"
)

// sniffJSONRPC takes a session whose text messages are all JSON-RPC 2.0. Very long
// ones are not looked at.
func sniffJSONRPC(_ Hint, first []*tape.Message) int {
	found := 0
	for _, m := range first {
		if len(m.Payload) > 64<<10 {
			continue
		}
		if _, err := readJSONRPC(m); err != nil {
			return 0
		}
		found++
	}
	if found > 0 {
		return reads
	}
	return 0
}

func openJSONRPC(Hint) reader { return readJSONRPC }

func readJSONRPC(m *tape.Message) (View, error) {
	raw, err := parse(m.Payload)
	if err != nil {
		return View{}, err
	}
	if raw[0] != '[' {
		return readCall(raw)
	}
	var all []View
	for one := range elements(raw) {
		v, err := readCall(one)
		if err != nil {
			return View{}, err
		}
		if all = append(all, v); len(all) == maxParts {
			break
		}
	}
	if len(all) == 0 {
		return View{}, errors.New("an empty batch")
	}
	return together(all), nil
}

// readCall reads one request, notification or response.
func readCall(raw json.RawMessage) (View, error) {
	o := pick(raw, "jsonrpc", "id", "method", "params", "result", "error")
	if version, _ := Text(o["jsonrpc"]); version != "2.0" {
		return View{}, errors.New(`not JSON-RPC 2.0: "jsonrpc":"2.0" is missing`)
	}
	v := View{Key: id(o["id"]), Value: value(raw)}
	if method, ok := Text(o["method"]); ok {
		v.Type = "request"
		if o["id"] == nil {
			v.Type = "notification"
		}
		v.Summary = words(method, compact(o["params"]))
		return v, nil
	}
	switch {
	case o["id"] == nil:
		return View{}, errors.New("neither a method nor the id of one")
	case o["error"] != nil:
		v.Type, v.Summary = "error", words("error", rpcError(o["error"]))
	case o["result"] != nil:
		v.Type, v.Summary = "result", words("result", compact(o["result"]))
	default:
		return View{}, errors.New("an answer with neither a result nor an error")
	}
	v.Answer = true
	return v, nil
}

func rpcError(raw json.RawMessage) string {
	o := pick(raw, "code", "message", "data")
	said, ok := Text(o["message"])
	if !ok {
		return compact(raw)
	}
	return words(string(o["code"]), fold(said, maxSummary), compact(o["data"]))
}
