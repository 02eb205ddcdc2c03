// The steps of build_tables.
#pragma once

#include "vocab/description.h"
#include "vocab/scan.h"
#include "vocab/table_builder.h"

namespace anydraft::detail {

// Normaliser, pre-tokeniser, decoder: steps, scanners, and what the config says of them.
void build_pipeline(TableBuilder& builder, const Description& description, EncoderConfig& config);
// The model's tables. Wants the config that build_pipeline completed.
void build_model(TableBuilder& builder, const Description& description, EncoderConfig& config);
// Tokens found before the model runs. Wants the normaliser's steps.
void build_added(TableBuilder& builder, const Description& description);

bool drops_text(const Tables& tables, uint32_t scanner);  // an entry of Tables::scanners

}  // namespace anydraft::detail
