module imageporter/standin

go 1.26
