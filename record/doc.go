// Package record keeps sessions on a tape: the interfaces that a storage engine
// implements ([Reader], [Writer], [Store]), the [Recorder] that batches what
// the links hand it, the block codec, redaction, and cassettes.
//
// A session's tape is one stream of bytes: records (frame, piece of a payload,
// gap, note, decision) one behind another, as docs/format.md describes. The
// stream is cut at record boundaries into segments; an engine stores segments
// under the session's number and the offset of their first byte, and knows
// nothing of what is in them. [Lines] and [Frames] turn segments back into what
// people look at, from any engine, near or far.
package record
