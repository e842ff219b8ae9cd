# Looks at the variables of an R kernel: no method of the user's is dispatched, no active binding evaluated.
# The word behind the arrow is replaced by a list; the answer is published as JSON to the request that asks.
local({
  question <- QUESTION
  cut <- function(text, width = 60L) ifelse(nchar(text) > width, paste0(substr(text, 1L, width - 1L), "\u2026"), text)
  preview <- function(bare) {
    if (!is.atomic(bare) || is.null(bare)) return("")
    first <- bare[seq_len(min(5L, length(bare)))]
    texts <- if (is.character(first)) encodeString(substr(first, 1L, 60L), quote = "\"") else as.character(first)
    cut(paste(c(texts, if (length(bare) > 5L) "\u2026"), collapse = ", "))
  }
  row <- function(name) {
    if (bindingIsActive(as.name(name), globalenv())) return(list(name = name, type = "active binding"))
    value <- get(name, envir = globalenv(), inherits = FALSE)
    kind <- oldClass(value)
    found <- list(name = name, type = if (is.null(kind)) typeof(value) else kind[1L])
    tryCatch({
      if (is.environment(value) || isS4(value)) return(found)
      bare <- unclass(value)
      if (identical(kind[length(kind)], "data.frame")) {
        some <- bare[seq_len(min(8L, length(bare)))]
        kinds <- vapply(some, function(each) if (is.null(oldClass(each))) typeof(each) else oldClass(each)[1L], "")
        more <- if (length(bare) > 8L) "\u2026"
        found$shape <- c(.row_names_info(value, 2L), length(bare))
        found$preview <- paste(c(cut(paste(names(some), kinds), 40L), more), collapse = ", ")
      } else if (!is.null(attr(bare, "dim"))) {
        found$shape <- attr(bare, "dim")
        found$preview <- preview(as.vector(bare))
      } else if (is.vector(bare) || is.factor(value)) {
        found$length <- length(bare)
        if (is.null(kind)) found$preview <- preview(bare)
      }
      found
    }, error = function(problem) found)
  }
  all <- ls(globalenv())
  answer <- if (question$ask == "names") {
    functions <- vapply(all, function(name) {
      !bindingIsActive(as.name(name), globalenv()) && is.function(get(name, envir = globalenv(), inherits = FALSE))
    }, NA)
    list(data = I(all[!functions]), `function` = I(all[functions]), total = length(all))
  } else {
    list(rows = lapply(intersect(unlist(question$names), all), row))
  }
  IRdisplay::publish_mimebundle(list(`application/json` = jsonlite::toJSON(answer, auto_unbox = TRUE)))
})
