package decode

import (
	"errors"
	"fmt"

	"github.com/wstape/wstape/tape"
)

// GraphQL over WebSocket in its two forms: graphql-transport-ws (of graphql-ws)
// and graphql-ws (of subscriptions-transport-ws, which is older). They share their
// shape and most of their words.

func sniffGraphQL(h Hint, first []*tape.Message) int {
	if h.Subprotocol == "graphql-transport-ws" || h.Subprotocol == "graphql-ws" {
		return named
	}
	asked, answered := opening(first, tape.Client), opening(first, tape.Server)
	if graphQLType(asked) != "connection_init" {
		return 0
	}
	if answered != nil {
		if _, known := graphQLTypes()[graphQLType(answered)]; !known {
			return 0
		}
	}
	return opened
}

func graphQLType(m *tape.Message) string {
	if m == nil || m.Op != tape.Text {
		return ""
	}
	raw, _ := parse(m.Payload)
	t, _ := Text(pick(raw, "type")["type"])
	return t
}

// graphQLRole is what a type of message is to the one with the same id.
type graphQLRole int

const (
	noOperation graphQLRole = iota // about the connection
	operation                      // asks
	outcome                        // answers, if the server says it
	alive
)

func graphQLTypes() map[string]graphQLRole {
	return map[string]graphQLRole{
		"connection_init": noOperation, "connection_ack": noOperation, "connection_error": noOperation,
		"connection_terminate": noOperation,
		"ping":                 alive, "pong": alive, "ka": alive,
		"subscribe": operation, "start": operation,
		"next": outcome, "data": outcome, "error": outcome, "complete": outcome, "start_ack": outcome,
		"stop": operation,
	}
}

func openGraphQL(Hint) reader {
	types := graphQLTypes()
	return func(m *tape.Message) (View, error) { return readGraphQL(types, m) }
}

func readGraphQL(types map[string]graphQLRole, m *tape.Message) (View, error) {
	raw, err := parseObject(m.Payload)
	if err != nil {
		return View{}, err
	}
	o := pick(raw, "type", "id", "payload")
	t, ok := Text(o["type"])
	if !ok {
		return View{}, errors.New("the message has no type")
	}
	role, known := types[t]
	if !known {
		return View{}, fmt.Errorf("no message of GraphQL has the type %q", fold(t, maxType))
	}
	v := View{Type: t, Value: value(raw), Heartbeat: role == alive}
	if role == operation || role == outcome {
		if v.Key = id(o["id"]); v.Key == "" {
			return View{}, fmt.Errorf("%s has no id", t)
		}
		v.Answer = role == outcome && m.From == tape.Server
	}
	said := ""
	if o["payload"] != nil && string(o["payload"]) != "null" {
		said = compact(o["payload"])
	}
	if role == operation && t != "stop" {
		said = graphQLOperation(o["payload"])
	}
	v.Summary = words(t, said)
	return v, nil
}

// graphQLOperation shows what a client asks for.
func graphQLOperation(payload []byte) string {
	p := pick(payload, "operationName", "query", "variables")
	name, _ := Text(p["operationName"])
	query, ok := Text(p["query"])
	if !ok && payload != nil {
		return compact(payload)
	}
	variables := ""
	if p["variables"] != nil && string(p["variables"]) != "{}" {
		variables = compact(p["variables"])
	}
	return words(name, variables, fold(query, maxSummary))
}
