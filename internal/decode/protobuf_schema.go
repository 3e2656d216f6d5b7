package decode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstape/wstape/tape"
)

// ProtobufOf returns the protocol "protobuf" with a schema: all messages of a
// session are of one type of some .proto files, named in full ("chat.v1.Envelope")
// or, where no other is called so, without its package. Imports are looked for
// from each file's folder upwards.
func ProtobufOf(ctx context.Context, files []string, message string) (Protocol, error) {
	var known []string
	for _, file := range files {
		f, err := compile(ctx, file)
		if err != nil {
			return Protocol{}, err
		}
		var found []protoreflect.MessageDescriptor
		for _, md := range allMessages(f, map[string]bool{}) {
			known = append(known, string(md.FullName()))
			if string(md.FullName()) == strings.TrimPrefix(message, ".") {
				found = []protoreflect.MessageDescriptor{md}
				break
			}
			if string(md.Name()) == message {
				found = append(found, md)
			}
		}
		switch len(found) {
		case 0:
		case 1:
			s := &schema{found[0], linker.ResolverFromFile(f)}
			return entry("protobuf", "Protobuf messages of "+string(s.message.FullName()), sniffChosen, func(Hint) reader { return s.read }), nil
		default:
			return Protocol{}, fmt.Errorf("there are several messages called %s: %s, %s", message, found[0].FullName(), found[1].FullName())
		}
	}
	slices.Sort(known)
	return Protocol{}, fmt.Errorf("no message is called %q, there are: %s", message, strings.Join(slices.Compact(known), ", "))
}

func sniffChosen(Hint, []*tape.Message) int { return named }

func compile(ctx context.Context, file string) (linker.File, error) {
	whole, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(whole); err != nil { // which the compiler looks for everywhere
		return nil, fmt.Errorf("reading the schema %s: %w", file, errors.Unwrap(err))
	}
	dirs := []string{filepath.Dir(whole)}
	for up := filepath.Dir(dirs[0]); up != dirs[len(dirs)-1]; up = filepath.Dir(up) {
		dirs = append(dirs, up)
	}
	c := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: dirs}),
		MaxParallelism: 1,
	}
	compiled, err := c.Compile(ctx, filepath.Base(whole))
	if err != nil {
		return nil, fmt.Errorf("reading the schema %s: %w", file, err)
	}
	return compiled[0], nil
}

// allMessages returns the messages of a file and of those that it imports.
func allMessages(f protoreflect.FileDescriptor, seen map[string]bool) []protoreflect.MessageDescriptor {
	if seen[f.Path()] {
		return nil
	}
	seen[f.Path()] = true
	all := nestedMessages(f.Messages())
	for i := range f.Imports().Len() {
		all = append(all, allMessages(f.Imports().Get(i).FileDescriptor, seen)...)
	}
	return all
}

func nestedMessages(in protoreflect.MessageDescriptors) []protoreflect.MessageDescriptor {
	var all []protoreflect.MessageDescriptor
	for i := range in.Len() {
		if md := in.Get(i); !md.IsMapEntry() {
			all = append(append(all, md), nestedMessages(md.Messages())...)
		}
	}
	return all
}

// schema is the type of a session's messages.
type schema struct {
	message  protoreflect.MessageDescriptor
	resolver linker.Resolver
}

func (s *schema) read(m *tape.Message) (View, error) {
	if len(m.Payload) > maxKept {
		return View{}, fmt.Errorf("%s is more than is read with a schema (%d)", size(len(m.Payload)), maxKept)
	}
	if at, err := checkFields(m.Payload); err != nil {
		return View{}, fmt.Errorf("not Protobuf: %w (byte %d)", err, at)
	}
	msg, err := s.unmarshal(m.Payload)
	if err != nil {
		// The library puts no-break spaces into its errors.
		return View{}, fmt.Errorf("no %s: %s", s.message.FullName(), fold(err.Error(), maxSummary))
	}
	w := new(schemaWalk)
	fields := w.message(msg)
	if len(fields) == 0 && len(m.Payload) > 0 {
		return View{}, fmt.Errorf("no %s: none of its fields are there", s.message.FullName())
	}
	v := View{Type: string(s.message.Name()), Value: fields, Summary: w.out.String()}
	if one := variant(msg); one != "" {
		v.Type += "." + one
	}
	if w.unknown > 0 {
		v.Summary = words(cut(v.Summary, maxSummary-40), "(+ "+size(w.unknown), "that the schema does not know)")
	}
	if len(m.Payload) == 0 {
		v.Summary = "empty"
	}
	return v, nil
}

// unmarshal recovers: the library panics on the entry of a map whose key comes
// twice, the second time with another wire type (google.golang.org/protobuf 1.36.12).
func (s *schema) unmarshal(p []byte) (msg *dynamicpb.Message, err error) {
	defer func() {
		if why := recover(); why != nil {
			err = fmt.Errorf("the library gave up: %v", why)
		}
	}()
	msg = dynamicpb.NewMessage(s.message)
	options := proto.UnmarshalOptions{AllowPartial: true, RecursionLimit: maxDepth, Resolver: s.resolver}
	return msg, options.Unmarshal(p, msg)
}

// variant names the field that is set of a message's first oneof.
func variant(m protoreflect.Message) string {
	oneofs := m.Descriptor().Oneofs()
	for i := range oneofs.Len() {
		if o := oneofs.Get(i); !o.IsSynthetic() {
			if f := m.WhichOneof(o); f != nil {
				return string(f.Name())
			}
			return ""
		}
	}
	return ""
}

// schemaWalk shows a message and makes a View's Value of it.
type schemaWalk struct {
	out     brief
	unknown int // bytes
}

func (w *schemaWalk) message(m protoreflect.Message) map[string]any {
	w.unknown += len(m.GetUnknown())
	var set []protoreflect.FieldDescriptor
	m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		set = append(set, f)
		return true
	})
	slices.SortFunc(set, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number() - b.Number()) })
	all := make(map[string]any, len(set))
	for i, f := range set {
		if i > 0 {
			w.out.add(" ")
		}
		name := f.TextName()
		w.out.add(name + ": ")
		all[name] = w.field(f, m.Get(f))
	}
	return all
}

func (w *schemaWalk) field(f protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch {
	case f.IsList():
		list := v.List()
		all := make([]any, list.Len())
		w.out.add("[")
		for i := range all {
			if i > 0 {
				w.out.add(", ")
			}
			all[i] = w.single(f, list.Get(i))
		}
		w.out.add("]")
		return all
	case f.IsMap():
		return w.members(f, v.Map())
	}
	return w.single(f, v)
}

func (w *schemaWalk) members(f protoreflect.FieldDescriptor, m protoreflect.Map) any {
	var keys []protoreflect.MapKey
	m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, k)
		return true
	})
	slices.SortFunc(keys, func(a, b protoreflect.MapKey) int { return strings.Compare(a.String(), b.String()) })
	all := make(map[string]any, len(keys))
	w.out.add("{")
	for i, k := range keys {
		if i > 0 {
			w.out.add(" ")
		}
		w.out.scalar(k.String())
		w.out.add(": ")
		all[k.String()] = w.single(f.MapValue(), m.Get(k))
	}
	w.out.add("}")
	return all
}

func (w *schemaWalk) single(f protoreflect.FieldDescriptor, v protoreflect.Value) any {
	var value any
	switch x := v.Interface().(type) {
	case protoreflect.Message:
		w.out.add("{")
		all := w.message(x)
		w.out.add("}")
		return all
	case protoreflect.EnumNumber:
		if named := f.Enum().Values().ByNumber(x); named != nil {
			w.out.add(string(named.Name()))
			return string(named.Name())
		}
		value = signed(int64(x))
	case []byte:
		value = bytes.Clone(x)
	case int32:
		value = signed(int64(x))
	case int64:
		value = signed(x)
	case uint32:
		value = unsigned(uint64(x))
	case uint64:
		value = unsigned(x)
	case float32:
		value = float(x)
	case float64:
		value = float(x)
	default:
		value = x // string, bool
	}
	w.out.scalar(value)
	return value
}
