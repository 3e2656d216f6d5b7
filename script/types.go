package script

import _ "embed"

// types is written once, when the program is linked.
//
//go:embed wstape.d.ts
var types string

// Types returns TypeScript's declarations of everything that scripts and their
// tests can use.
func Types() string { return types }
