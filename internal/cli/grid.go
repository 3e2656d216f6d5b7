package cli

import (
	"io"
	"slices"
	"strings"
)

// grid is a table whose columns are as wide as what is in them, and together, if
// they can be made so, no wider than a terminal.
type grid struct {
	paint   painter
	columns int  // of the terminal
	table   bool // lines that are wider are cut
	head    []string
	shrink  []int   // columns that may be cut
	spare   [][]int // columns that are left out together where there is no room, the first first
	rows    [][]cell
}

// cell is safe text and its colour.
type cell struct {
	text   string
	colour colour
}

const (
	gridGap   = 2
	leastCell = 16 // columns that a cell keeps when it is cut
)

func (g *grid) add(row ...cell) { g.rows = append(g.rows, row) }

// write writes the table. That it cannot be written is left to who flushes.
func (g *grid) write(out io.Writer) {
	widths := make([]int, len(g.head))
	measure := func(i int, text string) { widths[i] = max(widths[i], visible(text)) }
	for i, text := range g.head {
		measure(i, text)
	}
	for _, row := range g.rows {
		for i, c := range row {
			measure(i, c.text)
		}
	}
	g.fit(widths)
	var head []cell
	for _, text := range g.head {
		head = append(head, cell{text, dim})
	}
	g.line(out, head, widths)
	for _, row := range g.rows {
		g.line(out, row, widths)
	}
}

// fit leaves out what is empty in all rows, and then what can be spared, until the
// others have room, and makes the widest of those that may be cut narrower, until all fit.
func (g *grid) fit(widths []int) {
	all, least := -gridGap, -gridGap // least is what it takes when cells are cut
	leastOf := func(i int) int {
		if slices.Contains(g.shrink, i) {
			return min(widths[i], leastCell)
		}
		return widths[i]
	}
	for i := range widths {
		all += widths[i] + gridGap
		least += leastOf(i) + gridGap
	}
	leaveOut := func(i int) {
		all -= widths[i] + gridGap
		least -= leastOf(i) + gridGap
		widths[i] = -gridGap
	}
	for i := range g.head {
		if all > g.columns && !slices.ContainsFunc(g.rows, func(row []cell) bool { return row[i].text != "" }) {
			leaveOut(i)
		}
	}
	for _, together := range g.spare {
		if least <= g.columns {
			break
		}
		for _, i := range together {
			if widths[i] > 0 {
				leaveOut(i)
			}
		}
	}
	for ; all > g.columns; all-- {
		widest := slices.MaxFunc(g.shrink, func(a, b int) int { return widths[a] - widths[b] })
		if widths[widest] <= leastCell {
			return
		}
		widths[widest]--
	}
}

func (g *grid) line(out io.Writer, row []cell, widths []int) {
	var b strings.Builder
	space := 0
	for i, c := range row {
		text := c.text
		if widths[i] < 0 {
			continue
		}
		if visible(text) > widths[i] {
			text = safe(text, widths[i])
		}
		if text != "" {
			b.WriteString(strings.Repeat(" ", space))
			b.WriteString(g.paint.paint(c.colour, text))
			space = 0
		}
		space += widths[i] - visible(text) + gridGap
	}
	y := layout{paint: g.paint, columns: g.columns, table: g.table}
	_, _ = io.WriteString(out, y.cut(b.String())+"\n")
}
