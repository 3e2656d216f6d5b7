package boltstore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/wstape/wstape/record"
)

// The flags of bbolt's pages, and of a leaf's element that is a bucket.
const (
	branchFlag   = 0x01
	leafFlag     = 0x02
	metaFlag     = 0x04
	freelistFlag = 0x10
	bucketFlag   = 0x01
	elementLen   = 16
	noFreelist   = ^uint64(0)
)

// pages walks a bbolt file's tree without trusting anything in it.
type pages struct {
	*header
	f       *os.File
	seen    []bool // by page
	problem func(format string, args ...any)
	each    func(name []byte, root uint64) // is called for each bucket that has pages of its own
	ended   func() bool                    // nobody wants to know any more
	looped  bool                           // following references may never end
}

// node is one page with its overflow.
type node struct {
	id       uint64
	flags    uint16
	count    int
	overflow uint64
	body     []byte // with the page header
}

// openPages readies a file for a walk. The caller holds its lock and sees to it
// that nobody writes to it until the header has been read.
func openPages(f *os.File, problem func(string, ...any)) (*pages, error) {
	h, err := readHeader(f)
	if err != nil {
		return nil, err
	}
	return &pages{header: h, f: f, problem: problem}, nil
}

// check walks everything: each page is in the tree once, or free.
func (p *pages) check(ctx context.Context) error {
	if p.damaged {
		p.problem("one of the two header pages is damaged: what was written last may be missing")
	}
	info, err := p.f.Stat()
	if err != nil {
		return err
	}
	if uint64(info.Size()/p.pageSize) < p.highWater {
		p.problem("the file is shorter than its header says")
		return nil
	}
	p.seen = make([]bool, p.highWater)
	p.take(0, 1) // the header pages
	p.ended = func() bool { return ctx.Err() != nil }
	p.each = func(_ []byte, root uint64) { p.tree(root, nil, nil) }
	p.tree(p.root, nil, nil)
	p.free()
	for id, seen := range p.seen {
		if !seen && !p.ended() {
			p.problem("page %d: neither in use nor free", id)
		}
	}
	return nil
}

// take notes that pages are in use; false if they cannot be.
func (p *pages) take(id, overflow uint64) bool {
	if id >= p.highWater || overflow >= p.highWater-id {
		p.problem("page %d: beyond the end of the file", id)
		return false
	}
	for i := id; i <= id+overflow; i++ {
		if p.seen[i] {
			p.problem("page %d: referred to twice", i)
			return false
		}
		p.seen[i] = true
	}
	return true
}

// read reads a page of one of the kinds.
func (p *pages) read(id uint64, kinds uint16) (*node, bool) {
	n, ok := p.head(id, kinds)
	if !ok {
		return nil, false
	}
	n.body = make([]byte, p.pageSize*int64(n.overflow+1))
	if _, err := p.f.ReadAt(n.body, int64(id)*p.pageSize); err != nil && err != io.EOF {
		p.problem("page %d: %v", id, err)
		return nil, false
	}
	return n, true
}

// head reads a page's header.
func (p *pages) head(id uint64, kinds uint16) (*node, bool) {
	head := make([]byte, pageHeader)
	if _, err := p.f.ReadAt(head, int64(id)*p.pageSize); id >= p.highWater || err != nil {
		p.problem("page %d: beyond the end of the file", id)
		return nil, false
	}
	n := &node{
		id: p.order.Uint64(head), flags: p.order.Uint16(head[8:]),
		count: int(p.order.Uint16(head[10:])), overflow: uint64(p.order.Uint32(head[12:])),
	}
	if n.id != id || n.flags&kinds != n.flags || n.flags&(n.flags-1) != 0 || n.flags == 0 || n.overflow >= p.highWater-id {
		p.problem("page %d: its header says page %d, flags %#x, %d more", id, n.id, n.flags, n.overflow)
		return nil, false
	}
	return n, true
}

// tree walks the pages of one bucket, whose keys are between low and high (nil
// for no limit).
func (p *pages) tree(id uint64, low, high []byte) {
	n, ok := p.read(id, branchFlag|leafFlag)
	if !ok || p.ended() {
		p.looped = p.looped || !ok && p.astray(id)
		return
	}
	p.looped = p.looped || p.seen[id]
	if !p.take(id, n.overflow) {
		return
	}
	if n.flags == leafFlag {
		p.leaf(n, low, high)
		return
	}
	elements, ok := p.branch(n)
	if !ok {
		return
	}
	for i, e := range elements {
		if i > 0 && bytes.Compare(elements[i-1].key, e.key) >= 0 || i == 0 && bytes.Compare(e.key, low) < 0 {
			p.problem("page %d: key %x is out of order", n.id, e.key)
		}
		above := high
		if i+1 < len(elements) {
			above = elements[i+1].key
		}
		p.tree(e.child, e.key, above)
	}
}

type branchElement struct {
	key   []byte
	child uint64
}

func (p *pages) branch(n *node) (out []branchElement, ok bool) {
	if !p.packed(n, 0) {
		return nil, false
	}
	for i := range n.count {
		at := pageHeader + i*elementLen
		key, ok := p.cut(n, at, 0, 4, 8)
		if !ok {
			return nil, false
		}
		out = append(out, branchElement{key, p.order.Uint64(n.body[at+8:])})
	}
	if len(out) == 0 {
		p.problem("page %d: a branch of nothing", n.id)
	}
	return out, true
}

// cut returns what an element's position and length say, which stand so many
// bytes into the element.
func (p *pages) cut(n *node, element, pos, length, have int) ([]byte, bool) {
	if element+elementLen > len(n.body) {
		p.problem("page %d: %d elements do not fit", n.id, n.count)
		return nil, false
	}
	from := uint64(element) + uint64(p.order.Uint32(n.body[element+pos:]))
	to := from + uint64(p.order.Uint32(n.body[element+length:]))
	if have == elementLen { // a leaf's value follows its key
		to += uint64(p.order.Uint32(n.body[element+12:]))
	}
	if to > uint64(len(n.body)) {
		p.problem("page %d: an element is beyond its end", n.id)
		return nil, false
	}
	return n.body[from:to], true
}

func (p *pages) leaf(n *node, low, high []byte) {
	if !p.packed(n, 4) {
		return
	}
	before := low
	for i := range n.count {
		at := pageHeader + i*elementLen
		both, ok := p.cut(n, at, 4, 8, elementLen)
		if !ok {
			return
		}
		key, value := both[:p.order.Uint32(n.body[at+8:])], both[p.order.Uint32(n.body[at+8:]):]
		if c := bytes.Compare(before, key); c > 0 || c == 0 && i > 0 || high != nil && bytes.Compare(key, high) >= 0 {
			p.problem("page %d: key %x is out of order", n.id, key)
		}
		before = key
		if p.order.Uint32(n.body[at:])&bucketFlag != 0 {
			p.bucket(n, key, value)
		}
	}
}

// bucket walks a bucket: one of its own pages, or, when it is small, inside its
// parent's value.
func (p *pages) bucket(n *node, name, value []byte) {
	if len(value) < elementLen {
		p.problem("page %d: bucket %q has no root", n.id, name)
		return
	}
	if root := p.order.Uint64(value); root != 0 {
		p.each(name, root)
		return
	}
	inside := value[elementLen:]
	if len(inside) < pageHeader || p.order.Uint16(inside[8:]) != leafFlag {
		p.problem("page %d: bucket %q is not a leaf", n.id, name)
		return
	}
	p.leaf(&node{id: n.id, count: int(p.order.Uint16(inside[10:])), body: inside}, nil, nil)
}

// free reads the list of free pages.
func (p *pages) free() {
	if p.freelist == noFreelist {
		return
	}
	n, ok := p.read(p.freelist, freelistFlag)
	if !ok || !p.take(p.freelist, n.overflow) {
		return
	}
	list := n.body[pageHeader:]
	count := uint64(n.count)
	if n.count == 0xffff { // too many for the header's count: the first entry is the count
		count, list = p.order.Uint64(list), list[8:]
	}
	if count > uint64(len(list)/8) {
		p.problem("page %d: %d free pages do not fit", n.id, count)
		return
	}
	for i := range count {
		p.take(p.order.Uint64(list[i*8:]), 0)
	}
}

// leafRef is a leaf and the first key that may stand in it.
type leafRef struct {
	key string
	id  uint64
}

// checkOpening looks for what bbolt would not survive: a list of buckets that is
// not one, and a reference that leads back or to a page that bbolt would take for
// a branch, which it would follow for ever. It reads branches and the leaves of
// small buckets only, so it is quick enough for every opening; those of the large
// ones are returned, to be looked at before they are read. Before writing it
// reads the beginning of every page: bbolt believes the lengths in it when it
// frees pages and writes them anew.
func (p *pages) checkOpening(writing bool) (unseen map[bucket][]leafRef, err error) {
	roots := map[bucket]uint64{}
	p.each = func(name []byte, id uint64) { roots[bucket(name)] = id }
	p.problem = func(format string, args ...any) {
		err = fmt.Errorf("%w: the list of buckets: "+format, append([]any{record.ErrCorrupt}, args...)...)
	}
	if root, ok := p.read(p.root, leafFlag); ok { // there are a handful: they fit into one leaf
		p.leaf(root, nil, nil)
	}
	p.problem = func(string, ...any) {} // check reports it
	branches, unseen := map[uint64]bool{}, map[bucket][]leafRef{}
	all := []uint64{p.root}
	for name, id := range roots {
		if err != nil {
			return nil, err
		}
		var leaves []leafRef
		leaves, err = p.loops(id, "", branches, nil)
		for _, l := range leaves {
			all = append(all, l.id)
		}
		if !writing && (name == blocks || name == windows) {
			unseen[name] = leaves
			continue
		}
		for _, l := range leaves {
			if err == nil && p.astray(l.id) {
				err = errAstray(l.id)
			}
		}
	}
	if err != nil || !writing {
		return unseen, err
	}
	if p.freelist == noFreelist { // bbolt would look for the free pages itself, in a goroutine that panics
		return nil, fmt.Errorf("%w: the list of free pages is missing", record.ErrCorrupt)
	}
	for id := range branches {
		all = append(all, id)
	}
	return nil, p.checkHeads(all)
}

// astray reports whether bbolt would take a page that stands where a leaf should
// for a branch: it asks for nothing but one of its kinds and the page's own number.
func (p *pages) astray(id uint64) bool {
	head := make([]byte, pageHeader)
	if _, err := p.f.ReadAt(head, int64(id)*p.pageSize); id >= p.highWater || err != nil || p.order.Uint64(head) != id {
		return false
	}
	flags := p.order.Uint16(head[8:])
	return flags == branchFlag || flags == metaFlag || flags == freelistFlag
}

func errAstray(id uint64) error {
	return fmt.Errorf("%w: page %d stands where a leaf should", record.ErrCorrupt, id)
}

// checkHeads looks for pages whose beginnings are wrong or that are in use twice,
// as far as the list of free pages.
func (p *pages) checkHeads(ids []uint64) (err error) {
	p.problem = func(format string, args ...any) {
		err = fmt.Errorf("%w: "+format, append([]any{record.ErrCorrupt}, args...)...)
	}
	p.seen = make([]bool, p.highWater)
	p.take(0, 1) // the header pages
	for _, id := range ids {
		if n, ok := p.head(id, branchFlag|leafFlag); ok {
			p.take(id, n.overflow)
			p.fit(n)
		}
	}
	p.free()
	return err
}

// fit looks whether what a page's elements say lies within the page: bbolt would
// make room for it, however much that is, when it writes the page anew.
func (p *pages) fit(n *node) {
	size := uint64(p.pageSize) * (n.overflow + 1)
	elements := make([]byte, min(size, pageHeader+uint64(n.count)*elementLen))
	if _, err := p.f.ReadAt(elements, int64(n.id)*p.pageSize); err != nil {
		p.problem("page %d: %v", n.id, err)
		return
	}
	sum := uint64(0)
	for i := range n.count {
		at := pageHeader + i*elementLen
		if at+elementLen > len(elements) {
			p.problem("page %d: %d elements do not fit", n.id, n.count)
			return
		}
		field := func(i int) uint64 { return uint64(p.order.Uint32(elements[at+i:])) }
		pos, length := field(0), field(4) // of a branch's key
		if n.flags == leafFlag {
			pos, length = field(4), field(8)+field(12)
		}
		if sum += length; uint64(at)+pos+length > size || sum > size {
			p.problem("page %d: an element is beyond its end", n.id)
			return
		}
	}
}

// packed reports whether a page's elements lie where their number says: behind
// each other, and their data directly behind them.
func (p *pages) packed(n *node, pos int) bool {
	data := n.body[min(pageHeader, len(n.body)):]
	if n.count == 0 {
		if len(bytes.TrimLeft(data[:min(elementLen, len(data))], "\x00")) > 0 {
			p.problem("page %d: has no elements, and is not empty", n.id)
			return false
		}
		return true
	}
	if len(data) >= elementLen && p.order.Uint32(data[pos:]) != uint32(n.count*elementLen) {
		p.problem("page %d: does not have %d elements", n.id, n.count)
		return false
	}
	return true
}

// loops follows the branches below a page, in which no key is below the given one,
// and gathers the leaves that stand below them.
func (p *pages) loops(id uint64, key string, branches map[uint64]bool, leaves []leafRef) ([]leafRef, error) {
	n, ok := p.head(id, branchFlag|leafFlag)
	if !ok || n.flags == leafFlag {
		if !ok && p.astray(id) {
			return leaves, errAstray(id)
		}
		return append(leaves, leafRef{key, id}), nil // check reports it
	}
	if n, ok = p.read(id, branchFlag); !ok {
		return leaves, errAstray(id)
	}
	if branches[id] {
		return leaves, fmt.Errorf("%w: page %d is referred to twice", record.ErrCorrupt, id)
	}
	branches[id] = true
	elements, ok := p.branch(n)
	if !ok || len(elements) == 0 {
		return leaves, fmt.Errorf("%w: page %d: its %d branches do not fit", record.ErrCorrupt, id, n.count)
	}
	if first, ok := p.head(elements[0].child, branchFlag|leafFlag); ok && first.flags == leafFlag {
		for _, e := range elements { // a tree is as deep everywhere: these are leaves all
			leaves = append(leaves, leafRef{string(e.key[:min(len(e.key), maxKey)]), e.child})
		}
		return leaves, nil
	}
	var err error
	for _, e := range elements {
		if leaves, err = p.loops(e.child, string(e.key[:min(len(e.key), maxKey)]), branches, leaves); err != nil {
			return leaves, err
		}
	}
	return leaves, nil
}
