"use strict";

// deflate turns the tests' word for compression into an option of ws. Threshold
// 0 compresses short messages too.
module.exports = function deflate(word) {
  switch (word) {
    case "off":
      return false;
    case "no_takeover":
      return { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true };
    default:
      return { threshold: 0 };
  }
};
