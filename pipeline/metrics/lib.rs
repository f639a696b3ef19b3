//! Relations across people: the SQL of sql/, run by DataFusion.
