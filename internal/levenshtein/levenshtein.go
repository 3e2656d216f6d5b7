// Package levenshtein tells how far two words are apart, for messages that guess
// what was meant.
package levenshtein

// Distance is how many bytes must be added, removed or changed to make b of a.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// Nearest is the known word that a wrong one is most like, "" if it is like none:
// no more than two bytes apart, and fewer than it has.
func Nearest(word string, known []string) (best string) {
	least := 3
	for _, k := range known {
		if d := Distance(word, k); d < least && d < len(k) {
			best, least = k, d
		}
	}
	return best
}
